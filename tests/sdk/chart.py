"""Renders the Helm chart with several sets of values, and holds what comes of it against the schemas of Kubernetes.

    python chart.py CHART VERSION...    prints each object as a line of JSON: {values, kind, name, object}
"""

import copy
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

from gotemplate import Chart, merged

VARIANTS = {
    "as it comes": {},
    "everything": {
        "autoscaling": {"enabled": True},
        "serviceMonitor": {"enabled": True, "bearerTokenSecret": {"name": "metrics", "key": "token"}},
        "secretEnv": [{"name": "OPENAI_API_KEY", "secret": "openai", "key": "api-key"}],
        "imagePullSecrets": [{"name": "registry"}],
        "flows": {"hello": "flow: hello\nnodes: {}\n"},
        "networkPolicy": {"from": [{"namespaceSelector": {}}], "to": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
        "podAnnotations": {"a": "b"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "serviceAccount": {"annotations": {"c": "d"}},
        "drainSeconds": 60,
    },
    "one deployment": {"worker": {"enabled": False}, "autoscaling": {"enabled": True}},
    "as little as possible": {
        "worker": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "rootKey": {"existingSecret": ""},
    },
}
# Kinds that are no part of Kubernetes itself: there are no schemas of them here.
FOREIGN = {"ServiceMonitor"}


def main(folder, versions):
    folder = pathlib.Path(folder)
    about = yaml.safe_load((folder / "Chart.yaml").read_text())
    defaults = yaml.safe_load((folder / "values.yaml").read_text())
    schema = json.loads((folder / "values.schema.json").read_text())
    files = {path.name: path.read_text() for path in (folder / "templates").iterdir()}
    chart = Chart(files)
    for label, values in VARIANTS.items():
        values = merged(copy.deepcopy(defaults), values)
        jsonschema.validate(values, schema)
        root = {
            "Values": values,
            "Chart": {"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
            "Release": {"Name": "rag", "Namespace": "default", "Service": "Helm"},
        }
        for name in sorted(files):
            if name.startswith("_"):
                continue
            text = chart.render(name, copy.deepcopy(root))
            if name.endswith(".txt"):
                continue
            for found in yaml.safe_load_all(text):
                if found is None:
                    continue
                if found["kind"] not in FOREIGN:
                    for version in versions:
                        kubernetes_validate.validate(found, version, strict=True)
                line = {"values": label, "kind": found["kind"], "name": found["metadata"]["name"], "object": found}
                print(json.dumps(line))
    # What the schema must refuse.
    for wrong in ({"replicaz": 3}, {"drainSeconds": 0}, {"database": {"existingSecret": "", "key": "url"}}):
        try:
            jsonschema.validate(merged(copy.deepcopy(defaults), wrong), schema)
        except jsonschema.ValidationError:
            continue
        raise SystemExit(f"values.schema.json takes {wrong}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
