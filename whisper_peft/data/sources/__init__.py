"""Where speech comes from: corpora on disk, on the Hub, in memory or from a plug-in, as undecoded rows."""
