"""The users, organizations and tokens of huggingface_hub's tests (testing_constants.py there)."""

from tagship.hub_server.directory import Directory, Organization, Role, Token, User, token_digest

OPERATOR_TOKEN = "hf_operator"
_USER, _OTHER, _ADMIN = "__DUMMY_HUB_USER__", "DVUser", "EnterpriseAdmin"
_TOKENS = {
    "hf_HubCITokenXXXXXXXXXXXXXXXXXXXXX": _USER,
    "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": _OTHER,
    "hf_enterprise_admin_token": _ADMIN,
    OPERATOR_TOKEN: "operator",
}
DIRECTORY = Directory(
    users={
        _USER: User(name=_USER, fullname="Dummy User", email="user@example.org"),
        _OTHER: User(name=_OTHER, fullname="Other User"),
        _ADMIN: User(name=_ADMIN, fullname="Enterprise Admin"),
        "operator": User(name="operator", fullname="Operator", operator=True),
        "julien-c": User(name="julien-c", fullname="Julien"),
        "celinah": User(name="celinah", fullname="Celinah"),
    },
    organizations={
        "valid_org_hub": Organization(name="valid_org_hub", fullname="Dummy Hub Org", members={_USER: "admin"}),
        "EnterpriseOrgPrivate": Organization(
            name="EnterpriseOrgPrivate", fullname="Enterprise", members={_ADMIN: "admin"}, private=True
        ),
        "huggingface": Organization(
            name="huggingface", fullname="Hugging Face", members={"julien-c": "admin", "celinah": "write"}
        ),
        "hf-internal-testing": Organization(name="hf-internal-testing", fullname="Internal Testing"),
    },
    tokens={token_digest(text): Token(user=user, name="tests", role=Role.WRITE) for text, user in _TOKENS.items()},
)
