"""A server with OpenAI's audio API: one base, many adapters, requests heard together."""
