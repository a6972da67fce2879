"""An admission webhook that refuses a service, or that does not answer: `up` names it, says what to
do, and leaves nothing.
"""

import pytest
from tests.e2e.kubernetes import webhook

pytestmark = pytest.mark.night


def refused(namespace, words):
    """What is said of it, in one line; of the service nothing is left but its record and key."""
    before = namespace.belongings()
    said = " ".join(namespace("up", *words, code=4).stderr.split())
    assert namespace.belongings() - before <= {"secret/chat-api-key"}
    assert namespace.history() == ["failed"]
    assert f"shows whose {webhook.NAME} is" in said
    return said


@pytest.mark.parametrize("kind", ["pods", "deployments"])
def test_one_that_refuses(namespace, fake_image, tiny_checkpoint, kind):
    words = namespace.words(fake_image, tiny_checkpoint)
    pem = webhook.serve(namespace, fake_image)
    with webhook.refusing(namespace, kind, service="hook", pem=pem):
        said = refused(namespace, words)
    assert f'admission webhook "{webhook.NAME}" denied the request: {webhook.SAYS}' in said
    assert "hint: do what it asks for" in said
    namespace("up", *words)


@pytest.mark.parametrize("kind", ["pods", "deployments"])
def test_one_whose_service_is_gone(namespace, fake_image, tiny_checkpoint, kind):
    words = namespace.words(fake_image, tiny_checkpoint)
    with webhook.refusing(namespace, kind, service="none"):
        said = refused(namespace, words)
    assert f'failed calling webhook "{webhook.NAME}"' in said
    assert 'service "none" not found' in said
    assert "hint: it does not answer" in said
