"""Python packages made on the spot."""

import io
import zipfile


def wheel(name: str, text: str, *requires: str) -> bytes:
    """Return a wheel `NAME-1.0-py3-none-any.whl` with one module, whose `TEXT` is this."""
    held = io.BytesIO()
    information = f"{name}-1.0.dist-info"
    needs = "".join(f"Requires-Dist: {other}\n" for other in requires)
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(f"{name}.py", f"TEXT = {text!r}\n")
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{information}/WHEEL", tags)
        archive.writestr(f"{information}/RECORD", f"{name}.py,,\n{information}/METADATA,,\n{information}/WHEEL,,\n")
    return held.getvalue()
