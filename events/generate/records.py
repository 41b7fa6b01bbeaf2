"""Records of a generated firehose as compact JSON, the keys in the order of real ones."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from events.generate.ids import blob_cid
from events.generate.text import languages, unusual_time, usual_time

POST, LIKE, REPOST = "app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feed.repost"
FOLLOW, BLOCK = "app.bsky.graph.follow", "app.bsky.graph.block"
LIST, LISTITEM = "app.bsky.graph.list", "app.bsky.graph.listitem"
PROFILE, STATUS = "app.bsky.actor.profile", "app.bsky.actor.status"
THREADGATE, POSTGATE = "app.bsky.feed.threadgate", "app.bsky.feed.postgate"
UNPROJECTED = "fm.teal.alpha.feed.play"

_BLOBS = 1024
_USUAL_TIMES = 911  # of 1,024: 89 %
_REPLIES, _TAGGED = 0.40, 0.02
_TYPED = '{"$type":"'


class Post(NamedTuple):
    """A post that others may like, quote or answer; the last three are JSON."""

    did: str
    rkey: str
    ref: str
    root_ref: str
    """The strong ref of its thread's first post; its own where it starts a thread."""
    as_subject: str
    """`"subject":` and its own strong ref, for the likes and reposts of it."""


def strong_ref(did: str, collection: str, rkey: str, cid: str) -> str:
    """The JSON of a strong reference to a record."""
    return f'{{"cid":"{cid}","uri":"at://{did}/{collection}/{rkey}"}}'


class Records:
    """Writes records, all within their lexicon's limits except those of `invalid`."""

    def __init__(self, rng: Random) -> None:
        self._random = rng.random
        self._bits = rng.getrandbits
        self._blobs = [blob_cid(b"%d" % number) for number in range(_BLOBS)]
        self._languages = languages()

    def time(self, now_us: int) -> str:
        """A `createdAt` up to a second before now; nine of ten are milliseconds with Z."""
        bits = self._bits(30)
        time_us = now_us - (bits >> 10)
        if bits & 1023 < _USUAL_TIMES:
            return usual_time(time_us)
        return unusual_time(time_us, self._random())

    def post(self, now_us: int, parent: Post, quoted: Post, friend: str) -> tuple[str, str]:
        """A post's JSON, and its root's strong ref if it is a reply (else "").

        `parent`, `quoted` and the DID `friend` are there to be answered, quoted and mentioned;
        whether they are is left to chance.
        """
        reply = root = langs = tags = ""
        facets, start = self._facets(friend)
        language = self._languages[self._bits(4)]
        if self._random() < 0.97:
            langs = f'"langs":["{language.tag}"],'
        if self._random() < _REPLIES:
            root = parent.root_ref
            reply = f'"reply":{{"parent":{parent.ref},"root":{root}}},'
        if self._random() < _TAGGED:
            tags = '"tags":["art","news"],'
        return (
            f'{{"$type":"app.bsky.feed.post","createdAt":"{self.time(now_us)}",'
            f"{self._embed(quoted)}{facets}{langs}{reply}{tags}"
            f'"text":"{start}{self._words(language.phrases)}"}}'
        ), root

    def _words(self, phrases: tuple[str, ...]) -> str:
        luck = self._random()
        words = phrases[self._bits(8)]
        if luck < 0.6:
            words = f"{words} {phrases[self._bits(8)]}"
        if luck < 0.30:
            words = f"{words} {phrases[self._bits(8)]}"
        return words

    def _facets(self, friend: str) -> tuple[str, str]:
        """The facets of a post, and the beginning of its text that they stand for."""
        luck = self._random()
        if luck > 0.18:
            return "", ""
        if luck < 0.08:
            start = f"#topic{self._bits(10)}"
            feature = f'tag","tag":"{start[1:]}"'
        elif luck < 0.14:
            start = f"www.example.com/news/{self._bits(20)}"
            feature = f'link","uri":"https://{start}"'
        else:
            feature, start = f'mention","did":"{friend}"', f"@{friend[8:18]}.bsky.social"
        return (
            f'"facets":[{{"features":[{{"$type":"app.bsky.richtext.facet#{feature}}}],'
            f'"index":{{"byteEnd":{len(start)},"byteStart":0}}}}],'
        ), start + " "

    def _embed(self, quoted: Post) -> str:
        luck = self._random()
        if luck > 0.35:
            return ""
        if luck < 0.08:
            return f'"embed":{{"$type":"app.bsky.embed.record","record":{quoted.ref}}},'
        if luck < 0.20:
            return f'"embed":{self._images()},'
        if luck < 0.33:
            return f'"embed":{self._external()},'
        if luck < 0.34:
            media, record = self._images(), quoted.ref
            return (
                '"embed":{"$type":"app.bsky.embed.recordWithMedia",'
                f'"media":{media},"record":{{"$type":"app.bsky.embed.record","record":{record}}}}},'
            )
        return f'"embed":{{"$type":"app.bsky.embed.video","video":{self._blob("video/mp4")}}},'

    def _images(self) -> str:
        image = (
            f'{{"alt":"","aspectRatio":{{"height":1500,"width":2000}},'
            f'"image":{self._blob("image/jpeg")}}}'
        )
        more = self._bits(3)
        if more < 2:  # a quarter have two to four images
            second = image.replace('"alt":""', '"alt":"a second look, from the other side"')
            image = ",".join([image] + [second] * (1 + self._bits(1) + more))
        return f'{{"$type":"app.bsky.embed.images","images":[{image}]}}'

    def _external(self) -> str:
        phrases = self._languages[0].phrases
        return (
            '{"$type":"app.bsky.embed.external","external":'
            f'{{"description":"{phrases[self._bits(8)]} {phrases[self._bits(8)]}",'
            f'"thumb":{self._blob("image/jpeg")},"title":"{phrases[self._bits(8)]}",'
            f'"uri":"https://www.example.com/watch?v={self._bits(40):x}"}}}}'
        )

    def _blob(self, mime: str) -> str:
        cid = self._blobs[self._bits(10)]
        size = 20_000 + self._bits(19)
        return f'{{"$type":"blob","ref":{{"$link":"{cid}"}},"mimeType":"{mime}","size":{size}}}'

    def profile(self, now_us: int) -> str:
        """A profile's JSON."""
        language = self._languages[self._bits(4)]
        return (
            f'{{"$type":"{PROFILE}","avatar":{self._blob("image/jpeg")},'
            f'"createdAt":"{self.time(now_us)}","description":"{self._words(language.phrases)}",'
            f'"displayName":"Sam {self._bits(12)} 🦋"}}'
        )

    def status(self, now_us: int) -> str:
        """The JSON of an account's "live" status."""
        return (
            f'{{"$type":"{STATUS}","createdAt":"{self.time(now_us)}","durationMinutes":240,'
            f'"embed":{self._external()},"status":"{STATUS}#live"}}'
        )

    def list_(self, now_us: int) -> str:
        """A list's JSON."""
        return (
            f'{{"$type":"{LIST}","createdAt":"{self.time(now_us)}","description":"Good people",'
            f'"name":"List {self._bits(16)}","purpose":"app.bsky.graph.defs#curatelist"}}'
        )

    def gate(self, now_us: int, collection: str, post: Post) -> str:
        """The JSON of a threadgate or postgate of a post."""
        allow = embedding = ""
        if collection == THREADGATE:
            allow = '"allow":[{"$type":"app.bsky.feed.threadgate#followingRule"}],'
        else:
            embedding = '"embeddingRules":[{"$type":"app.bsky.feed.postgate#disableRule"}],'
        return (
            f'{_TYPED}{collection}",{allow}"createdAt":"{self.time(now_us)}",'
            f'{embedding}"post":"at://{post.did}/{POST}/{post.rkey}"}}'
        )

    def play(self, now_us: int) -> str:
        """The JSON of a record of a collection that nobody projects."""
        words = self._languages[0].phrases[self._bits(8)]
        return f'{_TYPED}{UNPROJECTED}","playedTime":"{usual_time(now_us)}","trackName":"{words}"}}'

    def invalid(self, now_us: int) -> tuple[str, str]:
        """A collection, and the JSON of a record that its lexicon or Postgres refuses."""
        collection, record = INVALID[self._bits(4)]
        return collection, record.replace("NOW", usual_time(now_us))


_BAD_POSTS = (
    '"text":"no time"',
    '"createdAt":"yesterday","text":"a time that is none"',
    '"createdAt":"2026-07-01T00:00:00.000","text":"no time zone"',
    '"createdAt":null,"text":"null is not absent"',
    '"createdAt":"NOW","text":"nothing\\u0000ness"',
    '"createdAt":"NOW","text":"' + "too many bytes " * 201 + '"',
    '"createdAt":"NOW","text":"' + "x" * 301 + '"',
    '"createdAt":"NOW","langs":["en_US"],"text":"bad language"',
    '"createdAt":"NOW","reply":null,"text":"null is no reply"',
    '"createdAt":"NOW","tags":["1","2","3","4","5","6","7","8","9"],"text":"too many tags"',
    '"createdAt":"NOW"',
)
INVALID = (
    *((POST, f'{{"$type":"{POST}",{rest}}}') for rest in _BAD_POSTS),
    (POST, f'{{"$type":"{LIKE}","createdAt":"NOW","text":"a post that says it is a like"}}'),
    (LIKE, f'{{"$type":"{LIKE}","createdAt":"NOW"}}'),
    (REPOST, f'{{"$type":"{REPOST}","createdAt":"NOW","subject":{{"uri":"at://no.cid"}}}}'),
    (FOLLOW, f'{{"$type":"{FOLLOW}","createdAt":"NOW","subject":"alice.example.com"}}'),
    (FOLLOW, f'{{"$type":"{FOLLOW}","createdAt":"","subject":"did:plc:{"a" * 24}"}}'),
)
"""One collection and record for each way in which records are seen to be invalid."""
