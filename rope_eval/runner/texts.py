"""What is asked of whole books, and their documents and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rope_eval.protocols.perplexity import CUMULATIVE, PerplexityProtocol
from rope_eval.results import identity
from rope_eval.results.documents import TokenCount, TokenCounts
from rope_eval.results.resolved import resolved_dtype, resolved_laws
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.books import first_documents
from rope_eval.scoring.documents import Loading
from rope_eval.setting import stated

if TYPE_CHECKING:
    from torch import Tensor

    from rope_eval.data.books import Document

PROTOCOL = 1  # of whole documents; another way to score or to count is another number


@dataclass(frozen=True, kw_only=True, slots=True)
class CumulativeRequest:
    """The perplexity of a model under a spec, on books, at lengths.

    Attributes:
        model: a directory or a name on the hub.
        rope: the RoPE setting.
        books: a source of `rope_eval.data.books.read_books`.
        lengths: tokens seen, BOS included, increasing.
        documents: how many documents to score, the first that are long enough; None for all.
        loading: the backend, and how the model is loaded into it.
        row: the row of the catalogue that was asked for, if one was.
        protocol: which tokens are scored, after which context, and how their mean is made.

    Raises:
        SpecError: for lengths that the protocol cannot do.
    """

    model: str
    rope: RopeSpec
    books: str
    lengths: tuple[int, ...]
    documents: int | None = None
    loading: Loading = field(default_factory=Loading)
    row: str | None = None
    protocol: PerplexityProtocol = CUMULATIVE

    def __post_init__(self) -> None:
        self.protocol.longest(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of each document that are read."""
        return self.protocol.longest(self.lengths)

    @property
    def stated(self) -> frozenset[str]:
        """The fields that the row says of its checkpoint."""
        return stated(self.row, self.rope)


def setting_of(request: CumulativeRequest) -> dict[str, Any]:
    """Return all of a request that determines the scores of a document."""
    loading = request.loading
    dtype = resolved_dtype(request.model, loading.dtype, loading.backend)
    return identity.request(
        "document",
        request.model,
        request.rope,
        backend=loading.backend,
        dtype=dtype,
        protocol=PROTOCOL,
        laws=resolved_laws(request.model, request.rope),
        **loading.changing(dtype),
    )


class Texts:
    """The documents of a request and their tokens.

    The tokenizer is loaded when a count is not known yet.

    Args:
        request: of its lengths the longest counts, or what its protocol reads.
        store: which knows counts.
        force: count anew.
    """

    def __init__(self, request: CumulativeRequest, store: Store, *, force: bool = False) -> None:
        self.request = request
        self.store = store
        self._setting = setting_of(request)
        self._counts = TokenCounts(store, self._setting, forget=force)
        self._tokenizer: Any = None
        self._ids: dict[str, Tensor] = {}
        self._begin_with_bos = False

    def documents(self) -> list[Document]:
        """Return the first documents that are long enough.

        Raises:
            DataError: for a model or books that cannot be read.
            LengthError: where there are fewer than asked for, or none.
        """
        request = self.request
        return first_documents(request.books, request.longest, self.count, request.documents)

    @property
    def begin_with_bos(self) -> bool:
        """Whether its tokens begin with BOS, once one is tokenised."""
        return self._begin_with_bos

    def count(self, document: Document) -> int:
        """Return how many tokens a document has, counted as far as the longest length."""
        known = self._counts.known
        kept = known.get(document.digest)
        if kept is None or not (kept.whole or kept.tokens >= self.request.longest):
            known[document.digest] = self._tokenise(document)
        return known[document.digest].tokens

    def ids(self, document: Document) -> Tensor:
        """Return its tokens up to the longest length."""
        if document.digest not in self._ids:
            self._tokenise(document)
        return self._ids.pop(document.digest)

    def setting(self) -> dict[str, Any]:
        """Return the request's setting; what loading the tokenizer brought of the hub counts."""
        if self._tokenizer is not None and "commit" in self._setting:
            known = self._counts.known
            self._setting = setting_of(self.request)
            self._counts = TokenCounts(self.store, self._setting)
            self._counts.known.update(known)
        return self._setting

    def keep_counts(self, record: Mapping[str, Any]) -> None:
        """Store the counts that are new."""
        self._counts.keep(record)

    def _tokenise(self, document: Document) -> TokenCount:
        from rope_eval.backends.checkpoint import check_checkpoint

        loading = self.request.loading
        if self._tokenizer is None:  # before torch, for what is not there is said at once
            check_checkpoint(
                self.request.model,
                trust_remote_code=loading.trust_remote_code,
                allow_pickle=loading.allow_pickle,
            )
        from rope_eval.backends.hf.encoding import first_tokens
        from rope_eval.backends.hf.loading import load_tokenizer

        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(
                self.request.model, trust_remote_code=loading.trust_remote_code
            )
        longest = self.request.longest
        ids = first_tokens(self._tokenizer, document.text, longest)
        self._begin_with_bos = int(ids[0]) == self._tokenizer.bos_token_id if len(ids) else False
        if len(ids) == longest:
            self._ids[document.digest] = ids
        return TokenCount(tokens=len(ids), whole=len(ids) < longest)
