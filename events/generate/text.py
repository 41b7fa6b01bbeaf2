"""What generated people write: times in the formats that clients use, and phrases."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache
from random import Random
from typing import NamedTuple

from events.event import from_time_us

_MILLIS = tuple(f"{millis:03d}" for millis in range(1000))
_PHRASES = 256
_PHRASE_CHARS_MAX = 78  # three of them and a tag stay below the 300 graphemes of a post

_WORDS = {
    "en": (
        "the a my this that what when today tomorrow never always people music coffee morning "
        "night game book city train rain really honestly just still again finally thinking about "
        "looking forward to with from and but because love hate need want made found read wrote "
        "watching listening running cat dog garden weather politics art science new old good best"
    ),
    "pt": "hoje amanhã não sim muito pouco gente música café manhã noite jogo livro cidade trem "
    "chuva você ele ela nós também mas porque saudade coração ação bom melhor novo",
    "de": "heute morgen nicht sehr wenig leute musik kaffee nacht spiel buch stadt zug regen "
    "über schön größer können müssen und aber weil gut neu alt",
    "es": "hoy mañana nunca siempre gente música café noche juego libro ciudad tren lluvia "
    "corazón año niño pero porque también bueno mejor nuevo",
    "ja": "今日 明日 猫 犬 音楽 写真 電車 雨 です ます した 楽しい すごい ありがとう "
    "おはよう 🎉 💦 絵 新しい 本",
    "ko": "오늘 내일 고양이 음악 사진 비 아침 정말 너무 좋아요 감사합니다 안녕 "
    "새로운 책 게임 ㅋㅋㅋ",
}
_ENDS = (".", "!", "?", "...", " 😂", " ❤️", "\\n\\n", ' \\"lol\\"', "", "", "", "", "", "", "", "")


class Language(NamedTuple):
    """A language tag and phrases in it; the phrases are escaped for JSON."""

    tag: str
    phrases: tuple[str, ...]


@cache
def languages() -> tuple[Language, ...]:
    """Sixteen languages to choose among evenly, the frequent ones several times."""
    rng = Random(0)
    known = {tag: Language(tag, _phrases(rng, tag)) for tag in _WORDS}
    return tuple(known[tag] for tag in ["en"] * 8 + ["ja"] * 4 + ["pt", "de", "es", "ko"])


def _phrases(rng: Random, tag: str) -> tuple[str, ...]:
    words = _WORDS[tag].split()
    made = []
    for _ in range(_PHRASES):
        phrase = words[rng.getrandbits(16) % len(words)].capitalize()
        space = "" if tag == "ja" else " "
        for _ in range(6 + rng.getrandbits(3)):
            phrase += space + words[rng.getrandbits(16) % len(words)]
        made.append(phrase[:_PHRASE_CHARS_MAX].rstrip() + _ENDS[rng.getrandbits(4)])
    return tuple(made)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS`; of an event's neighbours nearly all are in the cache."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def usual_time(time_us: int) -> str:
    """The form that nine clients of ten write: milliseconds with Z."""
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{_MILLIS[micros // 1000]}Z"


def unusual_time(time_us: int, choice: float) -> str:
    """Another valid form, chosen by `choice` (0 to 1) in the proportions of the network.

    Of eleven, nine have microseconds; then come offsets, whole seconds, seven and nine digits,
    and, rarely, years far from now.
    """
    seconds, micros = divmod(time_us, 1_000_000)
    second = _second(seconds)
    if choice < 9 / 11:
        return f"{second}.{micros:06d}Z"
    if choice < 0.89:
        return (
            f"{from_time_us(time_us + 7_200_000_000).isoformat()[:19]}.{micros // 1000:03d}+02:00"
        )
    if choice < 0.94:
        return f"{second}Z"
    if choice < 0.97:
        return f"{second}.{micros:06d}0Z"
    if choice < 0.995:
        return f"{second}.{micros:06d}123Z"
    return _YEARS[micros & 3] + second[4:] + ".000Z"


_YEARS = ("1024", "1970", "2999", "3024")
