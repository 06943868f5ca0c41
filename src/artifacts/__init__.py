"""Model folders: where they are, what their manifest says, whether their files are the trained ones.

An artefact is a folder with a ``manifest.json``::

    models/<task>/<version>/manifest.json       kind, labels, hashes of the other files
    models/<task>/current                       the version in use
"""

from __future__ import annotations

from .bases import OFFLINE_BASES, resolve_base
from .calibration import UNCALIBRATED, Calibration
from .certificate import Budget, Certificate, covered_files, read_certificate, verify_certificate
from .confidence import ConfidenceModel, read_confidence
from .files import CERTIFICATE, CONFIDENCE, CURRENT, MANIFEST, POLICY, WEIGHTS, read_json, sha256, verify_sha256
from .manifest import BaseReference, Manifest, SummarizerManifest, read_manifest, read_summarizer_manifest
from .places import available_tasks, find_artifact, models_roots
from .policy import BackupPolicy, Policy, Rule, read_policy

__all__ = [
    "CERTIFICATE",
    "CONFIDENCE",
    "CURRENT",
    "MANIFEST",
    "OFFLINE_BASES",
    "POLICY",
    "UNCALIBRATED",
    "WEIGHTS",
    "BackupPolicy",
    "BaseReference",
    "Budget",
    "Calibration",
    "Certificate",
    "ConfidenceModel",
    "Manifest",
    "Policy",
    "Rule",
    "SummarizerManifest",
    "available_tasks",
    "covered_files",
    "find_artifact",
    "models_roots",
    "read_certificate",
    "read_confidence",
    "read_json",
    "read_manifest",
    "read_policy",
    "read_summarizer_manifest",
    "resolve_base",
    "sha256",
    "verify_certificate",
    "verify_sha256",
]
