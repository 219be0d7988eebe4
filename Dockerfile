# The service, its workers and the batch jobs, as one image:
#   docker build -t chatward:0.1.0 .
#   docker build -t chatward-ray:0.1.0 --build-arg EXTRAS=ray --build-arg ALSO="ray[default]" .
# The versions in constraints.txt were tested together on Python 3.11. The base is named by tag: pin the digest that your registry shows.

# Nothing runs of this stage, whose health could be asked.
# hadolint ignore=DL3057
FROM docker.io/library/python:3.11-slim-bookworm AS build
# EXTRAS: of pyproject.toml, what the image is for. ALSO: a further requirement, as what a Ray cluster's pods need to be started by KubeRay.
ARG EXTRAS=serve,postgres,redis
ARG ALSO=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt LICENSE ./
COPY deploy/ray/constraints.txt ./deploy/ray/
COPY src ./src
# No pip in what ships. The model (25 MB) lies in the wheel: nothing is downloaded at run time.
RUN python3 -m pip wheel --no-deps --wheel-dir /wheels . \
 && python3 -m venv --without-pip /opt/chatward \
 && wheel="$(echo /wheels/chatward-*.whl)" \
 && python3 -m pip --python /opt/chatward/bin/python install -c constraints.txt -c deploy/ray/constraints.txt "${wheel}[${EXTRAS}]" ${ALSO:+"${ALSO}"}
# torch is for training: gigabytes that nothing here needs.
RUN /opt/chatward/bin/python -c 'import importlib.util, sys; sys.exit("torch got into the image: leave the extras train and lab out of EXTRAS" if importlib.util.find_spec("torch") else 0)'
COPY deploy/health.py /opt/chatward/health.py

FROM docker.io/library/python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="chatward" \
      org.opencontainers.image.description="Guards game chat: the moderation service, stream workers and batch jobs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
# A login shell, through which KubeRay starts Ray, sets PATH anew: profile.d gives it back.
RUN groupadd --gid 10001 chatward \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin chatward \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data \
 && echo "PATH=/opt/chatward/bin:\$PATH" > /etc/profile.d/chatward.sh
COPY --from=build /opt/chatward /opt/chatward
ENV PATH=/opt/chatward/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HF_HUB_DISABLE_TELEMETRY=1 ORT_DISABLE_TELEMETRY=1
# By number, so that Kubernetes can tell that it isn't root. /data and /tmp are all that is ever written to.
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
STOPSIGNAL SIGTERM
# Of the service; a worker's is `health.py http://127.0.0.1:9100/healthz`, see deploy/compose.yaml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/chatward/health.py"]
ENTRYPOINT ["chatward"]
CMD ["--help"]
