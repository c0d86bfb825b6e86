"""A model of codes without a memory, for tests that only ask for logits."""

from hallucade.models.base import TokenModel


class Memoryless(TokenModel):
    """Subclasses say what the logits are."""

    def logits(self, state, action, tokens):
        raise NotImplementedError

    def forced_logits(self, clip, tokens, dropped=None):
        raise NotImplementedError

    def initial(self, latent):
        return None

    def observe(self, state, action, latent):
        return None

    def fork(self, state):
        return None
