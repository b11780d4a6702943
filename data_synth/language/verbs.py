"""English verbs of what people and things do in videos, and their forms."""

from __future__ import annotations

VERBS = frozenset(
    """accelerate add adjust aim appear applaud apply approach arrange arrive assemble attach attempt back bake balance bark bathe beat begin bend
bike bite blend blow board boil bounce bow bowl box brake break brew bring brush build bump burn bury buy call carry carve cast catch celebrate change chase
chat check cheer chew chop circle clap clean clear climb close collect come compete complete continue cook cover crack crash crawl cross crouch cry
curl cut cycle dance demonstrate descend describe dig dip disappear discuss display dive do drag draw dribble drift drink drip drive drizzle drop dry dunk dust eat embrace
emerge empty end enjoy enter erupt examine exercise exit explain explode explore face fall fasten feed fight fill film finish fish fix flap flash flatten flicker flip float flow fly fold
follow freeze frost fry gallop gather gaze gesture get give glance glide glue go grab grate graze greet grill grin grind grow guide hammer hand hang have heat help hide hike hit
hold hop hover hug hum hurl inflate insert inspect instruct interact introduce iron jog join juggle jump keep kick kiss knead kneel knit knock land laugh launch lay lead lean leap learn leave
let lick lie lift light listen load lock look lower make march mark massage measure meet melt mix mop mount move mow nod observe open operate order
pack paddle paint pan park pass pat pause pedal peel perform pet pet pick pile pitch place plant play plug point polish pop pose pound pour practice prance
prepare present press pretend proceed pull pump punch purr push put quiver race rain raise rake reach read receive record relax remove repair repeat rescue rest
return reverse ride rinse rip rise roar roast rock roll rotate row rub run sail salute sand save saw say scatter scoop score scramble scrape scratch scream scroll scrub season see sell separate serve set
settle sew shake sharpen shatter shave shine shoot shout shovel show shower shred shut sign sing sink sip sit skate skateboard skateboard sketch ski skid skip slam slap sleep slice slide slip slow smash smell
smile smoke sneeze sniff snow snowboard soak solve spar speak speed spill spin splash spray spread sprint sprinkle squat squeeze stack stand stare start steer step stick stir
stop stretch stride strike stroke strum struggle stumble surf swallow sway sweep swim swing switch take talk tap taste teach tear tell test thank throw tie tighten tilt toast toss touch trace
train travel trim trip trot try tuck tumble turn twirl twist type unbox unfold unlock unroll unwrap use vacuum wade wag wait wake walk wander warm wash watch water wave wear weave weigh weld whip whisk whisper
whistle wiggle wink wipe work wrap wrestle write yawn yell zip zoom
""".split()
)
# Verbs whose form in -s is also a common noun in the plural.
NOUN_LIKE = frozenset(
    """aim back bark bathe beat bike bite blend blow board boil bounce bow bowl box brake break brew brush bump burn call cast catch change chase chat check cheer
circle clap clean close cook cover crack crash cross cry curl cut cycle dance dip display dive draw drift drink drip drive drop dust end exercise exit face fall feed fight fill film
finish fish fix flap flash flip float flow fly fold freeze frost fry gallop gesture glance glide glue grate grill grin grind guide hammer hand hang heat help hide hike hit hold hop hug hum iron joke jump
kick kiss knock land laugh launch lead lean leap lie lift light load lock look march mark massage measure meet mix mop mount move nod open order pack paddle paint pan park pass pat pause
pedal peel pet pick pile pitch place plant play plug point polish pop pose pound present press pump punch race rain rake record rescue rest return reverse ride rip rise roar roast rock roll row run sail salute sand save saw scoop
score scratch scream scroll season set shake shine shot shout shovel show shower sign sink sip skate skateboard sketch ski skid skip slam slap sleep slice slide slip smash smell smile smoke snow snowboard spar speed spill
spin splash spray spread sprint squat squeeze stack stand stare start step stick stop stretch stride strike stroke struggle stumble surf swallow sweep swim swing switch talk tap taste tear test thank throw tie tilt toast toss touch
trace train travel trim trip trot try tuck tumble turn twist type use vacuum wait wake walk wash watch water wave wear whip whisk whisper whistle wink wipe work wrap yawn yell zip zoom
""".split()
)
_IRREGULAR = {"has": "have", "does": "do", "goes": "go", "lies": "lie", "ties": "tie"}
_DOUBLED = frozenset("bdgmnprt")
_IE = {"lying": "lie", "tying": "tie", "dying": "die"}


def find_infinitive(word: str) -> str:
    """Return the infinitive of a listed verb's third person, such as "carry" for "carries"; "" for any other word."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if not word.endswith("s"):
        return ""
    for infinitive in (
        word[:-1],
        word[:-2] if word.endswith("es") else "",
        word[:-3] + "y" if word.endswith("ies") else "",
    ):
        if infinitive in VERBS:
            return infinitive
    return ""


def find_infinitive_of_participle(word: str) -> str:
    """Return the infinitive of a listed verb's form in -ing, such as "run" for "running"; "" for any other word."""
    if word in _IE:
        return _IE[word]
    if not word.endswith("ing"):
        return ""
    stem = word[:-3]
    doubled = stem[:-1] if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] in _DOUBLED else ""
    return next((form for form in (stem, f"{stem}e", doubled) if form in VERBS), "")
