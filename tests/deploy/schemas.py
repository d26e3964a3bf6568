"""What of Kubernetes and Compose our files use, as strict JSON schemas: a misspelt or misplaced key is a fault."""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 0}
YES: dict[str, Any] = {"type": "boolean"}
NAME: dict[str, Any] = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY: dict[str, Any] = {"type": "string", "pattern": "^[0-9]+(m|Ki|Mi|Gi)?$"}
PORT: dict[str, Any] = {"anyOf": [NAME, {"type": "integer", "minimum": 1, "maximum": 65535}]}


def exactly(needed: str = "", **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others; `needed` are those that may not be left out."""
    return {
        "type": "object",
        "properties": properties,
        "required": needed.split(),
        "additionalProperties": False,
    }


def some(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*values: Any) -> dict[str, Any]:
    return {"enum": list(values)}


META = exactly("name", name=NAME, namespace=NAME, labels=TEXTS)
RESOURCES = exactly("requests limits", requests=exactly(cpu=QUANTITY, memory=QUANTITY), limits=exactly(memory=QUANTITY))
PROBE = exactly(
    exec=exactly("command", command=some(TEXT)),
    httpGet=exactly("path port", path=TEXT, port=PORT),
    periodSeconds=WHOLE,
    timeoutSeconds=WHOLE,
)
CONTAINER = exactly(
    "name image resources securityContext volumeMounts",
    name=NAME,
    image=TEXT,
    command=some(TEXT),
    args=some({"type": "string"}),
    envFrom=some(exactly("configMapRef", configMapRef=exactly("name", name=NAME))),
    ports=some(exactly("name containerPort", name=NAME, containerPort=WHOLE)),
    livenessProbe=PROBE,
    readinessProbe=PROBE,
    resources=RESOURCES,
    securityContext=exactly(
        "allowPrivilegeEscalation readOnlyRootFilesystem capabilities",
        allowPrivilegeEscalation={"const": False},
        readOnlyRootFilesystem={"const": True},
        capabilities=exactly("drop", drop={"const": ["ALL"]}),
    ),
    volumeMounts=some(exactly("name mountPath", name=NAME, mountPath=TEXT, readOnly=YES)),
)
VOLUME = {
    "oneOf": [
        exactly("name emptyDir", name=NAME, emptyDir=exactly()),
        exactly("name persistentVolumeClaim", name=NAME, persistentVolumeClaim=exactly("claimName", claimName=NAME)),
        exactly("name secret", name=NAME, secret=exactly("secretName", secretName=NAME, defaultMode=WHOLE)),
    ]
}
POD = exactly(
    "automountServiceAccountToken securityContext containers volumes",
    automountServiceAccountToken={"const": False},
    terminationGracePeriodSeconds=WHOLE,
    securityContext=exactly(
        "runAsNonRoot runAsUser runAsGroup fsGroup seccompProfile",
        runAsNonRoot={"const": True},
        runAsUser={"type": "integer", "minimum": 1},
        runAsGroup={"type": "integer", "minimum": 1},
        fsGroup={"type": "integer", "minimum": 1},
        fsGroupChangePolicy=one_of("OnRootMismatch", "Always"),
        seccompProfile=exactly("type", type=one_of("RuntimeDefault")),
    ),
    restartPolicy=one_of("Never", "OnFailure"),
    initContainers=some(CONTAINER),
    containers=some(CONTAINER),
    volumes=some(VOLUME),
)
TEMPLATE = exactly("metadata spec", metadata=exactly("labels", labels=TEXTS), spec=POD)
LABELS = exactly("matchLabels", matchLabels=TEXTS)
NOT_AGAIN = exactly(
    "action onExitCodes",
    action=one_of("FailJob"),
    onExitCodes=exactly("operator values", operator=one_of("In"), values=some(WHOLE)),
)
JOB = exactly(
    "template", backoffLimit=WHOLE, podFailurePolicy=exactly("rules", rules=some(NOT_AGAIN)), template=TEMPLATE
)
SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("v1", "PersistentVolumeClaim"): exactly(
        "accessModes resources",
        accessModes=some(one_of("ReadWriteMany", "ReadWriteOnce")),
        resources=exactly("requests", requests=exactly("storage", storage=QUANTITY)),
    ),
    ("v1", "Service"): exactly(
        "selector ports", selector=TEXTS, ports=some(exactly("name port", name=NAME, port=PORT, targetPort=PORT))
    ),
    ("apps/v1", "Deployment"): exactly(
        "replicas selector template",
        replicas=WHOLE,
        strategy=exactly("type", type=one_of("Recreate", "RollingUpdate")),
        selector=LABELS,
        template=TEMPLATE,
    ),
    ("batch/v1", "CronJob"): exactly(
        "schedule concurrencyPolicy jobTemplate",
        schedule=TEXT,
        timeZone=TEXT,
        concurrencyPolicy=one_of("Forbid"),
        startingDeadlineSeconds=WHOLE,
        successfulJobsHistoryLimit=WHOLE,
        failedJobsHistoryLimit=WHOLE,
        jobTemplate=exactly("spec", spec=JOB),
    ),
    ("networking.k8s.io/v1", "NetworkPolicy"): exactly(
        "podSelector policyTypes ingress",
        podSelector=LABELS,
        policyTypes=some(one_of("Ingress")),
        ingress=some(
            exactly("from ports", **{"from": some(exactly(podSelector=LABELS)), "ports": some(exactly(port=PORT))})
        ),
    ),
}
VERSION, KIND = "apiVersion", "kind"


def kubernetes(document: dict[str, Any]) -> dict[str, Any]:
    """The schema of a document by what it says that it is; a KeyError for a kind that our files do not use."""
    version, kind = document[VERSION], document[KIND]
    common = {VERSION: {"const": version}, KIND: {"const": kind}, "metadata": META}
    if (version, kind) == ("v1", "Namespace"):
        return exactly("metadata", **common)
    if (version, kind) == ("v1", "ConfigMap"):
        return exactly("metadata data", **common, data=TEXTS)
    if (version, kind) == ("v1", "Secret"):
        return exactly("metadata stringData", **common, type={"const": "Opaque"}, stringData=TEXTS)
    return exactly("metadata spec", **common, spec=SPECS[version, kind])


NEEDS = {"type": "object", "additionalProperties": exactly("condition", condition=TEXT)}
SERVICE = exactly(
    "image restart security_opt networks",
    image=TEXT,
    build=TEXT,
    restart=one_of("unless-stopped", "no"),
    read_only={"const": True},
    cap_drop={"const": ["ALL"]},
    security_opt={"const": ["no-new-privileges:true"]},
    stop_grace_period=TEXT,
    tmpfs=some(TEXT),
    networks=some(TEXT),
    volumes=some(TEXT),
    secrets=some(TEXT),
    environment=TEXTS,
    depends_on=NEEDS,
    command=some({"type": "string"}),
    ports=some({"type": "string", "pattern": r"^127\.0\.0\.1:[0-9]+:[0-9]+$"}),
    user={"type": "string", "pattern": "^[1-9]"},
    healthcheck={
        "oneOf": [
            exactly("disable", disable={"const": True}),
            exactly("test interval timeout retries", test=some(TEXT), interval=TEXT, timeout=TEXT, retries=WHOLE),
        ]
    },
)
COMPOSE = exactly(
    "name services networks volumes secrets",
    **{"x-holdfast": {"type": "object"}},
    name=NAME,
    services={"type": "object", "additionalProperties": SERVICE},
    networks={"type": "object", "additionalProperties": exactly(internal=YES)},
    volumes={"type": "object", "additionalProperties": exactly()},
    secrets={"type": "object", "additionalProperties": exactly("file", file=TEXT)},
)
