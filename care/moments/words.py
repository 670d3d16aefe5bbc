"""The words that days, hours and lengths of time are told with, as parts of patterns."""

from __future__ import annotations

UNIT_DAYS = {"day": 1, "week": 7, "fortnight": 14}
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PARTS = {
    "morning": (8, 12),
    "afternoon": (12, 16),
    "evening": (16, 20),
    "night": (20, 24),
    "tonight": (20, 24),
    "lunchtime": (11, 13),
    "business hours": (8, 18),
}
SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600}

ONES = "one|two|three|four|five|six|seven|eight|nine"
N = (
    rf"(?:\d{{1,4}}(?:\.\d{{1,2}})?|(?:an?|{ONES}|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|ninety)(?:[ -](?:{ONES}))?|(?:a )?couple(?: of)?"
    rf"|(?:a )?few|several|some|half an?|another|(?:a|the) half|\d+ 1/2|(?:\d{{1,2}}|{ONES}) and (?:a )?half(?: an?)?|½)"
)
"""How many."""
MONTH = r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
WEEKDAY = (
    r"(?P<weekday>mon(?:day)?|tues?(?:day)?|wed(?:nes(?:day)?|s)?|thu(?:r(?:s(?:day)?)?)?|fri(?:day)?|saturday|sunday"
    r"|(?:(?<=on )|(?<=next )|(?<=this )|(?<=last )|(?<=by ))(?:sat|sun))\b\.?(?!s\b)"
)
"""One day of the week; "sat" and "sun" alone are other words."""
ANY_DAY = "|".join(WEEKDAYS)
PART = "morning|afternoon|evening|night"
_TEENS = ("eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth")
_ONES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
ORDINALS = [*_ONES, "tenth", *_TEENS, *(f"twenty-{each}" for each in _ONES), "thirtieth", "thirty-first"]
ORDINAL = "|".join(sorted((each.replace("-", "[ -]") for each in ORDINALS), key=len, reverse=True))
DAY = rf"(?P<day>(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?|{ORDINAL})\b"
YEAR = r"(?P<year>(?:19|20|21)\d\d)\b"
WHICH = r"(?P<which>this coming|this past|this|next|last|past|previous|coming|upcoming|current|following)"
HOUR = rf"(?:[01]?\d|2[0-3]|{ONES}|ten|eleven|twelve)"
UNIT = "days?|weeks?|fortnights?|months?|years?|hours?|hrs?|minutes?|mins?|seconds?|secs?"
OF_DAY = rf"(?: (?:in the |at )?(?P<part>{PART}))?"
