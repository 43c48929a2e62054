"""What the corpus's local order codes mean, written as a hospital's IT team would write its code map."""

from __future__ import annotations

_SNOMED, _LOINC = "http://snomed.info/sct", "http://loinc.org"
_HCPCS = (
    "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "https://bluebutton.cms.gov/resources/codesystem/hcpcs",
)
_KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "laboratory": {_SNOMED: ("86859003",), "http://acme.org/tests": ("LIPID",)},
    "procedure": {_SNOMED: ("454281000124100",), _LOINC: ("45033-8",)},
    "referral": {
        _SNOMED: ("710830005", "34431008", "467771000124109", "24165007", "225885004", "4589007"),
        "http://example.org/SERVICE_TYPE_CODE": ("3",),
        **{system: ("G0155",) for system in _HCPCS},
    },
    "ignore": {  # nursing orders, equipment, transport, education, a certificate: nobody books a visit for them
        _SNOMED: ("359962006", "62013009", "40617009", "229115003", "48023004", "22633006"),
        **{system: ("A0426", "E0430", "E0431", "G0180") for system in _HCPCS},
    },
}
ORDER_KIND = {
    f"{system}|{code}": kind
    for kind, systems in _KINDS.items()
    for system, codes in systems.items()
    for code in codes
}
