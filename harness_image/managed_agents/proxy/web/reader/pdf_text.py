"""The text of a PDF, page by page."""

import io
import logging

PAGES_MAX = 500
"""Pages that are read."""

CHARACTERS_MAX = 400_000
"""After so many characters no further page is read."""


_DAMAGE = (ArithmeticError, LookupError, TypeError, AttributeError, NotImplementedError, OSError)


def pdf_text(body: bytes) -> tuple[str, str]:
    """Return a document's title and text. Raises: ValueError where it cannot be read."""
    logging.disable(logging.CRITICAL)  # pypdf tells of each oddity, quoting it
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(body), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ValueError("the PDF is encrypted")
        title = str(reader.metadata.title or "") if reader.metadata is not None else ""
        pages, size = [], 0
        for page in reader.pages[:PAGES_MAX]:
            text = page.extract_text().strip()
            pages.append(text)
            size += len(text)
            if size > CHARACTERS_MAX:
                break
    except ValueError:
        raise
    except (
        PyPdfError,
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        NotImplementedError,
        OSError,
    ) as problem:
        raise ValueError(f"the PDF is damaged ({type(problem).__name__})") from None
    return title, "\n\n".join(page for page in pages if page)
