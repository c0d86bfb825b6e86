"""The place of an autoencoder that made a model's latents and is not at hand."""

from dataclasses import dataclass

from hallucade.tokenizers.base import Tokenizer, TokenizerConfig


@dataclass(frozen=True, kw_only=True)
class AbsentTokenizerConfig(TokenizerConfig):
    """Says what made the latents of an imported model; weights can be read without it, frames cannot be made."""

    made_by: str  # the autoencoder, in words
    latent_shape: tuple[int, int, int]  # channels, rows, columns

    def build(self) -> Tokenizer:
        """Refuse.

        Raises:
            ValueError: always; names the autoencoder.
        """
        shape = "x".join(map(str, self.latent_shape))
        raise ValueError(
            f"this model dreams latents of {shape} made by {self.made_by}, which is not at hand; give "
            "--tokenizer FOLDER where the run is made (train, import-checkpoint), or train on --latents CACHE"
        )
