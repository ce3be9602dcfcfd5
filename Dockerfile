# CPU or CUDA: docker build [--build-arg TORCH_INDEX=URL] -t whisper-peft .
# TORCH_INDEX names the package index that torch comes from, such as that of the CPU or of one CUDA version's builds;
# without it torch is the build that the default index offers (on Linux: CUDA).
FROM python:3.11-slim

ARG TORCH_INDEX=""

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /whisper_peft
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY whisper_peft whisper_peft
COPY recipes recipes
COPY tests/data/prompts tests/data/prompts
RUN pip install --no-cache-dir -c constraints.txt '.[demo]'

ENTRYPOINT ["whisper-peft"]
CMD ["--help"]
