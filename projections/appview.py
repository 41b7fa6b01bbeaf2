"""Tables of the AppView that no event of the network fills, so that it finds all that it asks for.

Who writes them: its own services (mutes, bookmarks, drafts, what was seen), moderators, labelers.
"""

from projections.rows import ddl
from projector.declare import Companion

appview = Companion(name="appview", ddl=ddl("appview.sql"))
