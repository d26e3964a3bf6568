"""compose.yaml and deploy/kubernetes fit their schemas, fit each other, and name only what Holdfast has."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from cli.main import COMMANDS, LazyGroup, root
from cli.state import Door
from tests.deploy import schemas
from tests.support.command import CHECKOUT
from tests.webapp.test_docs import GIVEN
from webapp.secret_files import FILE_NAMES, SUFFIX
from webapp.settings import KNOWN

FOLDER = CHECKOUT / "deploy" / "kubernetes"
COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text(encoding="utf-8"))
MOUNT = "/run/secrets/"
ENVIRONMENT = KNOWN | GIVEN | FILE_NAMES


def manifests() -> Iterator[dict[str, Any]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


DOCUMENTS = list(manifests())


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in DOCUMENTS if each["kind"] == kind}


def faults(schema: dict[str, Any], document: Any) -> list[str]:
    return [
        f"{list(fault.instance_path)}: {fault.message}"
        for fault in jsonschema_rs.validator_for(schema).iter_errors(document)
    ]


def templates() -> dict[str, dict[str, Any]]:
    """The pods' templates by the name of what makes them."""
    found = {name: each["spec"]["template"] for name, each in of_kind("Deployment").items()}
    return found | {name: each["spec"]["jobTemplate"]["spec"]["template"] for name, each in of_kind("CronJob").items()}


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_each_manifest_fits_its_schema(document: dict[str, Any]) -> None:
    assert faults(schemas.kubernetes(document), document) == []


def test_the_compose_file_fits_its_schema() -> None:
    assert faults(schemas.COMPOSE, COMPOSE) == []


@pytest.mark.parametrize(
    "path",
    ["readOnlyRootFilesystem", "capabilities", "allowPrivilegeEscalation"],
)
def test_the_schema_finds_what_is_left_out(path: str) -> None:
    document = copy.deepcopy(of_kind("Deployment")["web"])
    del document["spec"]["template"]["spec"]["containers"][0]["securityContext"][path]
    assert faults(schemas.kubernetes(document), document) != []


def test_every_file_is_part_of_the_whole() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")


def test_what_is_named_is_there() -> None:
    for template in templates().values():
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        for volume in volumes.values():
            claim, secret = volume.get("persistentVolumeClaim"), volume.get("secret")
            assert claim is None or claim["claimName"] in of_kind("PersistentVolumeClaim")
            assert secret is None or secret["secretName"] in of_kind("Secret")
        for container in containers(template):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
            assert all(each["configMapRef"]["name"] in of_kind("ConfigMap") for each in container.get("envFrom", []))
    for name, each in of_kind("Deployment").items():
        wanted = each["spec"]["selector"]["matchLabels"].items()
        assert wanted <= each["spec"]["template"]["metadata"]["labels"].items(), name
    for name, each in of_kind("Service").items():
        selector = each["spec"]["selector"].items()
        chosen = [pod for pod in templates().values() if selector <= pod["metadata"]["labels"].items()]
        ports = {port["name"] for pod in chosen for one in containers(pod) for port in one.get("ports", [])}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports, name


def test_every_variable_is_known_and_every_secret_is_a_file() -> None:
    (settings,) = of_kind("ConfigMap").values()
    (secret,) = of_kind("Secret").values()
    assert settings["data"].keys() <= ENVIRONMENT
    files = {value for name, value in settings["data"].items() if name.endswith(SUFFIX)}
    assert files == {f"{MOUNT}holdfast/{key}" for key in secret["stringData"]}
    assert set(secret["stringData"].values()) == {""}, "a real secret is in the file that everybody copies"
    for service in COMPOSE["services"].values():
        for name, value in service["environment"].items() if service["image"].startswith("holdfast") else ():
            assert name in ENVIRONMENT
            if name.endswith(SUFFIX):
                assert value.removeprefix(MOUNT) in service["secrets"]


def test_secrets_are_never_in_the_environment() -> None:
    secret = {name.removesuffix(SUFFIX) for name in FILE_NAMES} - {"REDIS_URL", "HOLDFAST_NOTIFY"}
    (settings,) = of_kind("ConfigMap").values()
    assert settings["data"].keys() & secret == set()
    assert [name for name, each in COMPOSE["services"].items() if each.get("environment", {}).keys() & secret] == []


def test_the_parts_of_the_compose_file_are_declared() -> None:
    for name, service in COMPOSE["services"].items():
        assert service.get("depends_on", {}).keys() <= COMPOSE["services"].keys(), name
        assert set(service["networks"]) <= COMPOSE["networks"].keys(), name
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys(), name
        named = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        assert {each for each in named if each.isalpha()} <= COMPOSE["volumes"].keys(), name
        conditions = {each: needed["condition"] for each, needed in service.get("depends_on", {}).items()}
        for needed, condition in conditions.items():
            if condition == "service_healthy":
                assert "test" in COMPOSE["services"][needed]["healthcheck"], needed


def commands() -> Iterator[list[str]]:
    for service in COMPOSE["services"].values():
        if service["image"].startswith("holdfast"):
            yield service["command"]
    for template in templates().values():
        for container in containers(template):
            if container["image"].startswith("holdfast"):
                yield container.get("args") or container["command"][1:]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_is_one_of_ours(words: list[str]) -> None:
    assert isinstance(root, LazyGroup)
    name, *arguments = words
    assert name in COMMANDS
    context = root.make_context("backup-cli", [name], obj=Door({}))
    command = root.get_command(context, name)
    assert command is not None
    command.make_context(name, list(arguments), parent=context).close()  # a wrong option is a UsageError


def test_every_part_of_the_service_runs() -> None:
    needed = {("serve", "--setup"), ("serve", "--web-only"), ("scheduler",)}
    needed |= {("worker", "--queue", queue) for queue in ("backup", "restore", "system")}
    in_compose = {
        tuple(each["command"]) for each in COMPOSE["services"].values() if each["image"].startswith("holdfast")
    }
    in_pods = {tuple(one.get("args", ())) for each in templates().values() for one in containers(each)}
    assert in_compose == needed
    assert needed <= in_pods


def test_the_mission_s_cron_job() -> None:
    (job,) = of_kind("CronJob").values()
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["backup-cli", "create", "--config"]
    assert container["command"][-1] == "--inline"
    known = {path.stem for path in Path(CHECKOUT / "configs").glob("backup-*.json")}
    names = {
        yaml.safe_load((CHECKOUT / "configs" / f"{each}.json").read_text(encoding="utf-8"))["id"] for each in known
    }
    assert container["command"][3] in names
