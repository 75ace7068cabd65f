"""Every error that comfyvn raises on purpose.

The docstring of a class is its message: ``{name}`` fields are filled from the keyword arguments.
Each class carries the HTTP status and the exit code of the commands, and has the built-in that a
caller would expect as its second base, so ``except FileNotFoundError`` works as well as ours.
"""

from __future__ import annotations

import inspect
import json
from typing import Any, ClassVar

__all__ = [
    "AmbiguousUid",
    "AssetNotFound",
    "CannotListen",
    "Changed",
    "CodeRefused",
    "ComfyVNError",
    "ConfirmationNeeded",
    "ExportFailed",
    "ExtraMissing",
    "FactsAtOrigin",
    "FactsMissing",
    "FactsProposed",
    "FactsUnmatched",
    "FileMissing",
    "ForeignLibrary",
    "GraphAtOrigin",
    "GraphMissing",
    "HeadersTooLarge",
    "HostRefused",
    "ImportFailed",
    "ImportMissing",
    "InvalidAssetType",
    "InvalidBody",
    "InvalidFilter",
    "InvalidMetadata",
    "InvalidRequest",
    "InvalidSetting",
    "InvalidSettingsFile",
    "InvalidSidecar",
    "InvalidToken",
    "InvalidWebhook",
    "JobNotFound",
    "JobRunning",
    "LedgerConflict",
    "LedgerInUse",
    "LedgerSound",
    "LibraryChanged",
    "LibraryUnreachable",
    "LineageCircle",
    "LinkNotFound",
    "MalformedRequest",
    "MethodRefused",
    "NestedLibrary",
    "NoDesktop",
    "NoGraph",
    "NoLibrary",
    "NoMarker",
    "NothingThere",
    "OlderLibrary",
    "OpenToAll",
    "OperationNotFound",
    "OriginMissing",
    "OriginRefused",
    "OutsideLibrary",
    "PathConflict",
    "PreviewFailed",
    "PreviewMissing",
    "PreviewPending",
    "RangeRefused",
    "RegistryBusy",
    "RegistryUnusable",
    "RequestRefused",
    "RestoreRefused",
    "ScopeMissing",
    "ServerFault",
    "SidecarMissing",
    "SourceChanged",
    "SourceMissing",
    "SourceUnreadable",
    "StorageUnwritable",
    "StudioMissing",
    "TokenMissing",
    "TokenNotFound",
    "TokenRefused",
    "TooBusy",
    "TooLarge",
    "TooLong",
    "TooManyAttempts",
    "TooSlow",
    "TotalChanged",
    "UnknownAdapter",
    "UnknownEvent",
    "UnknownTable",
    "UnsafePath",
    "UnsupportedMedia",
    "WatchLimit",
    "WatchRunning",
    "WebhookNotFound",
    "WrongBodyType",
]


class ComfyVNError(Exception):
    """{detail}"""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        template = inspect.cleandoc(type(self).__doc__ or "").replace("\n", " ")
        self.message = template.format_map(fields)
        Exception.__init__(self, self.message)  # a second base may want other arguments

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[ComfyVNError], fields: dict[str, Any]) -> ComfyVNError:
    return kind(**fields)


class AssetNotFound(ComfyVNError, KeyError):
    """No asset with uid {uid} in project {project}. List the uids with `comfyvn list`."""

    status, exit_code = 404, 3


class OperationNotFound(ComfyVNError, KeyError):
    """The journal of project {project} knows no operation {operation}. List them with `comfyvn history`."""

    status, exit_code = 404, 3


class RestoreRefused(ComfyVNError, ValueError):
    """{path}: the asset {uid} can't be brought back: {why}. Nothing was changed."""

    status, exit_code = 409, 4


class ConfirmationNeeded(ComfyVNError, RuntimeError):
    """{question} There is no terminal to answer at, so nothing was changed. To say yes, add --yes."""

    status, exit_code = 409, 4


class LinkNotFound(ComfyVNError, KeyError):
    """{child} is not known to come{how} from {parent}. `comfyvn lineage` shows what it comes from."""

    status, exit_code = 404, 3


class LineageCircle(ComfyVNError, ValueError):
    """{child} can't come from {parent}, which comes from it or is itself: {way}. Nothing was changed."""

    status, exit_code = 409, 4


class SidecarMissing(ComfyVNError, FileNotFoundError):
    """{path}: this asset has no sidecar on disk. Write it again with ensure_sidecar({uid!r}) or
    `comfyvn rebuild --enforce-sidecars`."""

    status, exit_code = 404, 3


class InvalidSidecar(ComfyVNError, json.JSONDecodeError):
    """{path}:{line}:{column}: this sidecar is not usable: {why}. It was left as it is; mend it by hand, or
    delete it and run `comfyvn rebuild --enforce-sidecars`."""

    status, exit_code = 500, 1

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.msg, self.lineno, self.colno = str(fields["why"]), fields["line"], fields["column"]
        self.doc, self.pos = "", 0


class SourceMissing(ComfyVNError, FileNotFoundError):
    """{path}: no such file. Check the name; nothing was registered."""

    status, exit_code = 404, 3


class ImportMissing(SourceMissing):
    """{path}: there is no such file in the assets folder or in a folder of the setting import_roots. Nothing
    was registered; to send a file from elsewhere, upload it."""


class SourceUnreadable(ComfyVNError, OSError):
    """{path}: {why}. Nothing was registered."""

    status, exit_code = 400, 4


class SourceChanged(ComfyVNError, OSError):
    """{path}: the file changed while it was read. Nothing was registered; try again when the program that
    writes it has finished."""

    status, exit_code = 409, 4


class UnsafePath(ComfyVNError, ValueError):
    """{path!r}: {why}. Give a relative path below the assets folder, such as 'characters/mara.png'."""

    status, exit_code = 400, 4


class NestedLibrary(ComfyVNError, ValueError):
    """{path} lies inside the library {root}; a library there would be taken for assets of that one. Run this
    in the project folder, or say where that is with --home."""

    status, exit_code = 409, 4


class AmbiguousUid(ComfyVNError, KeyError):
    """{uid} is the beginning of several uids: {found}. Give more digits."""

    status, exit_code = 404, 3


class OutsideLibrary(ComfyVNError, ValueError):
    """{path}: this lies outside the assets folder {root}. Move it there first, or have it copied: without
    --in-place, in Python with copy_file=True."""

    status, exit_code = 400, 4


class PathConflict(ComfyVNError, ValueError):
    """{path}: {why}. Nothing was changed."""

    status, exit_code = 409, 4


class ImportFailed(ComfyVNError, ValueError):
    """{path}: {why}. Nothing of it was registered."""

    status, exit_code = 422, 4


class ExportFailed(ComfyVNError, OSError):
    """{path}: the export could not be written: {why}. What lay there before is untouched; make room or choose
    another place, and try again."""

    status, exit_code = 503, 1


class FactsMissing(ComfyVNError, LookupError):
    """{path}: nothing in this file, or kept from it, tells what made it."""

    status, exit_code = 404, 3


class FactsAtOrigin(FactsMissing):
    """{path}: nothing in this file, or kept from it, tells what made it. It came from {parent} ({kind}, found
    by {found}), of which that is known: `comfyvn facts show {uid}`."""


class FactsProposed(FactsMissing):
    """{path}: nothing in this file, or kept from it, tells what made it. It may have come from {parent}
    ({parent_uid}; {kind}, found by {found}), which waits for your word: `comfyvn proposal confirm {uid}
    {parent_uid}`, or `comfyvn proposal reject {uid} {parent_uid}`."""


class FactsUnmatched(FactsMissing):
    """{path}: nothing in this file, or kept from it, tells what made it. `comfyvn match {uid}` looks for the
    picture that it came from."""


class GraphMissing(ComfyVNError, LookupError):
    """{path}: no graph of ComfyUI is known of it. What else is known of its making tells `comfyvn facts
    show`."""

    status, exit_code = 404, 3


class GraphAtOrigin(GraphMissing):
    """{path}: no graph of ComfyUI is known of it. It came from {parent} ({uid}; {kind}, found by {found}), of
    which one is known: `comfyvn workflow extract {uid}`, or over HTTP `GET /assets/{uid}/workflow`."""


class NoGraph(ComfyVNError, ValueError):
    """{path}: this is no graph of ComfyUI: {why}. Save one there with Export or Export (API). Nothing was
    written."""

    status, exit_code = 422, 4


class ExtraMissing(ComfyVNError, ImportError):
    """{what} needs the Python package {package}, which is not installed: pip install "comfyvn[{extra}]"."""

    status, exit_code = 503, 2


class InvalidAssetType(ComfyVNError, ValueError):
    """{asset_type!r} can't be an asset type: {why}. Use one plain folder name, such as 'characters'."""

    status, exit_code = 400, 4


class InvalidMetadata(ComfyVNError, ValueError):
    """Metadata refused, nothing was written: {why}."""

    status, exit_code = 400, 4


class InvalidFilter(ComfyVNError, ValueError):
    """Filter refused: {why}."""

    status, exit_code = 422, 2


class InvalidSetting(ComfyVNError, ValueError):
    """Setting {name} = {value!r} (from {origin}): {why}."""

    status, exit_code = 500, 2


class InvalidSettingsFile(InvalidSetting):
    """{path}: this can't be read as TOML: {why}. Texts need quotes: user = "mika"."""


class UnknownTable(InvalidSetting):
    """comfyvn.toml: the table [importers.{name}] is for no import adapter that is installed here{hint}; its
    settings have no effect. There are: {known}."""


class UnknownAdapter(ComfyVNError, ValueError):
    """No import adapter is called {name!r}. There are: {known}."""

    status, exit_code = 422, 2


class UnknownEvent(ComfyVNError, ValueError):
    """There is no event {event!r}. The events are: {known}."""

    status, exit_code = 400, 2


class UnsupportedMedia(ComfyVNError, ValueError):
    """{path}: {why}."""

    status, exit_code = 415, 1


class NoMarker(ComfyVNError, LookupError):
    """{path}: there is no marker of ours in this file ({why}). `comfyvn show` tells what the library knows of
    a file that is registered."""

    status, exit_code = 404, 3


class PreviewFailed(ComfyVNError, ValueError):
    """No preview: {why}"""

    status, exit_code = 500, 1


class LibraryUnreachable(ComfyVNError, FileNotFoundError):
    """{path}: {why}. No row was changed. Is the drive mounted, and is this the right folder?"""

    status, exit_code = 503, 4


class LibraryChanged(ComfyVNError, RuntimeError):
    """{missing} of {total} assets would be marked missing, more than {percent} %. No row was changed. Is the
    drive mounted? If the files are really gone, say so with --allow-missing."""

    status, exit_code = 409, 4


class ForeignLibrary(ComfyVNError, RuntimeError):
    """{path} belongs to another library (it says {found}, the ledger knows {expected}). No row was changed.
    Point COMFYVN_DB and COMFYVN_ASSETS_ROOT at one and the same library."""

    status, exit_code = 409, 4


class LedgerConflict(ComfyVNError, RuntimeError):
    """{path}: another program changed the same asset at this moment. Nothing was changed; try again."""

    status, exit_code = 409, 1


class LedgerSound(ComfyVNError, ValueError):
    """{path}: nothing is wrong with this database, so it was not moved. `comfyvn rebuild` without
    --quarantine brings it in step with the files."""

    status, exit_code = 409, 4


class RegistryUnusable(ComfyVNError, OSError):
    """{path}: {why}"""

    status, exit_code = 503, 5


class NoLibrary(RegistryUnusable):
    """{path}: there is no library here yet. {hint}"""


class OlderLibrary(RegistryUnusable):
    """{path}: this database has asset tables that neither this nor an older ComfyVN release made ({shape}).
    It was left untouched. Use another database with COMFYVN_DB, or rebuild into a new one: `comfyvn rebuild
    --from-disk --db-path NEW.db`."""


class RegistryBusy(RegistryUnusable):
    """{path}: another program has kept the ledger locked for {seconds:g} s. Nothing was lost or half-written;
    try again when it has finished, or raise the setting busy_timeout_s."""


class StorageUnwritable(RegistryUnusable):
    """{path}: nothing can be written here: {why}. Nothing was half-written; make room, or put the permissions
    right, and try again."""


class LedgerInUse(RegistryUnusable):
    """{path}: another program has this database open, so it was not moved. Close that program, then try
    again."""


class WatchRunning(ComfyVNError, RuntimeError):
    """{path}: another `comfyvn watch` is at work on this library, and one is enough. Nothing was changed."""

    status, exit_code = 409, 4


class WatchLimit(ComfyVNError, OSError):
    """{path}: the system lets no more folders be watched ({why}). Add --polling, or raise its limits: sudo
    sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512."""

    status, exit_code = 503, 5


class RequestRefused(ComfyVNError, PermissionError):
    """{why}"""

    status, exit_code = 403, 4


class HostRefused(RequestRefused):
    """This server is not known under the name {host!r}. Use its address, or list the name in the
    setting allowed_hosts."""

    status = 421


class OriginRefused(RequestRefused):
    """A web page of {origin!r} may not use this server. List it in the setting allowed_origins if it may."""


class OriginMissing(RequestRefused):
    """This change comes with a session cookie, but does not say from which page. Browsers tell that by the
    header Origin; a script sends its token instead, as `Authorization: Bearer TOKEN`."""


class TokenMissing(RequestRefused):
    """This needs a token: send it as `Authorization: Bearer TOKEN`. `comfyvn token create` makes one."""

    status = 401


class TokenRefused(RequestRefused):
    """This token is not valid here: it is unknown, revoked or has expired. `comfyvn token list` tells which
    there are."""

    status = 401


class CodeRefused(RequestRefused):
    """This code lets nobody in: it is good once, for a minute, in a browser on the machine of the server. Run
    `comfyvn studio` for another, or sign in with a token."""

    status = 401


class TooManyAttempts(RequestRefused):
    """Too many wrong tokens came from your address. Wait {seconds} seconds, then try again."""

    status = 429


class ScopeMissing(RequestRefused):
    """This token lacks the scope {scope}; it has {scopes}. `comfyvn token create --scope {scope}` makes
    another."""


class OpenToAll(ComfyVNError, RuntimeError):
    """{why}, so every request needs a token, but there is no valid token. Make one with `comfyvn token create
    --scope assets.write`, then start again."""

    status, exit_code = 500, 4


class CannotListen(ComfyVNError, OSError):
    """{address}: the server can't listen there: {why}. Choose another port with --port, or another address
    with --host."""

    status, exit_code = 500, 4


class StudioMissing(ComfyVNError, FileNotFoundError):
    """The Studio's page is not part of this installation of comfyvn: it was installed with
    COMFYVN_SKIP_STUDIO, or runs from a checkout in which the page was not built. Install it without that
    switch, or run `python tools/web.py build` in the checkout."""

    status, exit_code = 503, 5


class TokenNotFound(ComfyVNError, KeyError):
    """There is no token {name}. List them with `comfyvn token list`."""

    status, exit_code = 404, 3


class InvalidToken(ComfyVNError, ValueError):
    """No token was made: {why}."""

    status, exit_code = 400, 2


class InvalidRequest(ComfyVNError, ValueError):
    """Request refused: {why}."""

    status, exit_code = 422, 2


class MalformedRequest(InvalidRequest):
    """This is no request that the server understands: {why}."""

    status = 400


class InvalidBody(InvalidRequest):
    """The body of the request can't be used: {why}."""

    status = 400


class WrongBodyType(InvalidRequest):
    """The body of this request must be {wanted}, not {found}."""

    status = 415


class TooLarge(InvalidRequest):
    """{what} is too large: the limit is {limit:,} bytes (setting {setting})."""

    status = 413


class HeadersTooLarge(InvalidRequest):
    """The headers of the request are too large: the limit is {limit:,} bytes (setting header_bytes)."""

    status = 431


class Changed(ComfyVNError, RuntimeError):
    """The asset {uid} is no longer what your If-Match names: somebody changed it. Nothing was done; read it
    again."""

    status, exit_code = 412, 4


class TotalChanged(Changed):
    """The filter finds {found} assets, not the {expected} that you expect. Nothing was changed; look at them
    again."""

    status = 409


class TooBusy(ComfyVNError, RuntimeError):
    """{why} Try again in a moment."""

    status, exit_code = 503, 1


class TooSlow(ComfyVNError, TimeoutError):
    """{why}"""

    status, exit_code = 408, 1


class TooLong(ComfyVNError, TimeoutError):
    """The answer took longer than {seconds:g} s (setting request_time_s), so it is not sent. What was to be
    changed may be changed all the same: look before you try again."""

    status, exit_code = 503, 1


class ServerFault(ComfyVNError, RuntimeError):
    """Something went wrong in the server; nothing was half-written. Its log tells more about the request
    {request}."""

    status, exit_code = 500, 1


class NothingThere(ComfyVNError, LookupError):
    """{why}"""

    status, exit_code = 404, 3


class MethodRefused(ComfyVNError, RuntimeError):
    """{method} is not possible here; possible are: {allowed}."""

    status, exit_code = 405, 2


class FileMissing(NothingThere):
    """{path}: the file of the asset {uid} can't be sent: {why}. `comfyvn rebuild` looks for it."""


class PreviewMissing(NothingThere):
    """The asset {uid} has no {what}: {why}."""


class PreviewPending(NothingThere):
    """The {what} of the asset {uid} is not made yet. Try again in a moment."""


class NoDesktop(ComfyVNError, RuntimeError):
    """The file manager can't be opened: {why}. `GET /assets/UID` tells where the file lies in the library."""

    status, exit_code = 501, 4


class RangeRefused(ComfyVNError, ValueError):
    """This part of the file does not exist; it has {size_bytes:,} bytes."""

    status, exit_code = 416, 2


class JobNotFound(ComfyVNError, KeyError):
    """There is no job {job}. Jobs are forgotten when the server ends; `GET /assets/jobs` lists them."""

    status, exit_code = 404, 3


class JobRunning(ComfyVNError, RuntimeError):
    """The job {job} ({kind}) is at work already; wait for it, or cancel it: `DELETE /assets/jobs/{job}`."""

    status, exit_code = 409, 4


class WebhookNotFound(ComfyVNError, KeyError):
    """There is no webhook {webhook}. List them with `comfyvn webhook list`."""

    status, exit_code = 404, 3


class InvalidWebhook(ComfyVNError, ValueError):
    """{url}: no webhook can go there: {why}."""

    status, exit_code = 400, 2
