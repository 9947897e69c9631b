# syntax=docker/dockerfile:1
# samner's server with the built-in pool and the page, on CPU:
#   docker build -t samner . && docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 samner

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
# uv knows where CPU builds of torch are; the usual ones bring gigabytes for GPUs
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/samner
ENV VIRTUAL_ENV=/opt/samner UV_NO_CACHE=1 UV_TORCH_BACKEND=cpu
COPY constraints.txt ./
RUN uv pip install "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN uv pip install -c constraints.txt ".[page]"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/samner /opt/samner
RUN useradd --system --no-create-home --uid 10001 samner
# what is written at all goes to /tmp; nothing is asked of a hub
ENV PATH=/opt/samner/bin:$PATH HOME=/tmp HF_HOME=/tmp/hf HF_HUB_OFFLINE=1 SAMNER_HOME=/tmp/samner \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["samner"]
CMD ["serve", "--host", "0.0.0.0", "--pool", "builtin"]
