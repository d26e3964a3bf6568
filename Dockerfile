# syntax=docker/dockerfile:1
# Holdfast in a container: any command of backup-cli, the service by default. docs/containers.md tells how to use it.

FROM python:3.12-slim-bookworm AS packages
COPY requirements.lock /build/requirements.lock
# Exactly what the lock names, each file checked against its hash; one package has no wheel.
RUN python -m venv /opt/holdfast \
    && /opt/holdfast/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --no-binary crontab \
        -r /build/requirements.lock

FROM python:3.12-slim-bookworm
# pg_dump refuses servers that are newer than itself, and a dump is best restored by the programs of its own version:
# the image has all versions that are supported, and Holdfast chooses.
ARG POSTGRESQL_VERSIONS="14 15 16 17 18"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql-common tini \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && for version in $POSTGRESQL_VERSIONS; do \
        apt-get install --yes --no-install-recommends "postgresql-client-$version" || exit 1; \
    done \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 holdfast \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin holdfast \
    && install -d -o 10001 -g 10001 -m 0700 /data

COPY --from=packages /opt/holdfast /opt/holdfast
COPY deploy/backup-cli /usr/local/bin/backup-cli
COPY deploy/healthcheck.py /app/deploy/healthcheck.py
COPY README.md worker.py /app/
COPY configs /app/configs
COPY static /app/static
COPY templates /app/templates
COPY engine /app/engine
COPY webapp /app/webapp
COPY cli /app/cli
# The code belongs to root and nobody writes there: its bytecode is made now.
RUN /opt/holdfast/bin/python -m compileall -q /app && chmod 0755 /usr/local/bin/backup-cli

ENV HOLDFAST_HOME=/data \
    HOLDFAST_BIND=0.0.0.0:8000 \
    PATH=/opt/holdfast/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "/app/deploy/healthcheck.py"]
ENTRYPOINT ["tini", "--", "backup-cli"]
CMD ["serve"]
