"""The lexicon: who, what, where, and which of them belong together."""

from dataclasses import dataclass

GIRLS = [
    "Lily",
    "Anna",
    "Mia",
    "Sara",
    "Emma",
    "Nora",
    "Ella",
    "Rosa",
    "Lucy",
    "Jane",
    "Ivy",
    "Clara",
    "Maya",
    "Zoe",
    "Alice",
    "Ruth",
    "Hana",
    "Olga",
    "Vera",
    "Ida",
]
BOYS = [
    "Tom",
    "Ben",
    "Max",
    "Sam",
    "Leo",
    "Jack",
    "Tim",
    "Noah",
    "Finn",
    "Paul",
    "Oscar",
    "Hugo",
    "Adam",
    "Luke",
    "Peter",
    "Omar",
    "Ivan",
    "Karl",
    "Felix",
    "Otto",
]
PET_NAMES = [
    "Spot",
    "Milo",
    "Luna",
    "Pip",
    "Biscuit",
    "Pepper",
    "Daisy",
    "Rusty",
    "Cloud",
    "Button",
    "Ginger",
    "Shadow",
]

ADJECTIVES_PERSON = ["kind", "brave", "curious", "clever", "quiet", "cheerful", "shy", "patient", "careful", "young"]
ADJECTIVES_THING = [
    "red",
    "blue",
    "green",
    "yellow",
    "small",
    "big",
    "old",
    "new",
    "shiny",
    "wooden",
    "round",
    "soft",
    "pretty",
    "golden",
]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "brown", "orange", "purple", "grey"]

NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


@dataclass(frozen=True)
class Toy:
    """A thing to own, what one does with it, and what that was in the past tense."""

    noun: str
    use: str
    used: str


TOYS = [
    Toy("kite", "fly it in the wind", "flew it in the wind"),
    Toy("ball", "kick it across the grass", "kicked it across the grass"),
    Toy("boat", "sail it on the water", "sailed it on the water"),
    Toy("drum", "play it", "played it loudly"),
    Toy("book", "read it in a quiet corner", "read it in a quiet corner"),
    Toy("hat", "wear it outside", "wore it outside"),
    Toy("scarf", "wear it in the snow", "wore it in the snow"),
    Toy("bell", "ring it loudly", "rang it loudly"),
    Toy("lamp", "light it in the dark", "lit it in the dark"),
    Toy("whistle", "blow it on the hill", "blew it on the hill"),
    Toy("basket", "fill it with berries", "filled it with berries"),
    Toy("map", "look at it closely", "looked at it closely"),
    Toy("key", "keep it in a pocket", "kept it in a pocket"),
    Toy("box", "put stones in it", "put stones in it"),
    Toy("ring", "look at it in the sun", "looked at it in the sun"),
    Toy("puzzle", "solve it with friends", "solved it with friends"),
    Toy("toy car", "push it along the floor", "pushed it along the floor"),
    Toy("doll", "carry it around", "carried it around"),
]


@dataclass(frozen=True)
class Place:
    """Where a story happens: how one is there, how one goes there, the hiding places in it."""

    at: str
    to: str
    spots: tuple[str, ...]


PLACES = [
    Place("in the park", "to the park", ("under a bench", "behind a tall tree", "near the pond")),
    Place("at the beach", "to the beach", ("under a rock", "in the wet sand", "beside a shell")),
    Place("in the forest", "to the forest", ("under a log", "behind a bush", "between two roots")),
    Place("in the garden", "to the garden", ("under a leaf", "behind the gate", "among the flowers")),
    Place("at the farm", "to the farm", ("in the hay", "behind the barn", "next to the well")),
    Place("by the river", "to the river", ("under the bridge", "among the reeds", "beside a flat stone")),
    Place("at the market", "to the market", ("under a table", "behind a cart", "between two baskets")),
    Place("at school", "to school", ("under a chair", "behind the door", "on a high shelf")),
    Place("on the hill", "up the hill", ("under a stone", "in the tall grass", "behind the old wall")),
    Place("in the library", "to the library", ("under a desk", "behind the books", "on the last shelf")),
]

HOMES = [
    "in a small house near the sea",
    "in a quiet village",
    "in a little town by the river",
    "in a big city",
    "at the edge of a forest",
    "on a green hill",
    "on a farm",
    "in a tall old house",
    "near a lake",
    "in a cottage under the mountain",
]

FOODS = [
    "bread",
    "cheese",
    "soup",
    "apples",
    "cake",
    "honey",
    "rice",
    "pears",
    "cookies",
    "pancakes",
    "berries",
    "carrots",
    "beans",
    "noodles",
    "pie",
]
DRINKS = ["tea", "milk", "water", "apple juice", "hot chocolate", "coffee"]

HOBBIES = [
    ("reading books", "read"),
    ("painting pictures", "paint"),
    ("playing chess", "play chess"),
    ("baking bread", "bake"),
    ("singing songs", "sing"),
    ("riding my bike", "ride my bike"),
    ("writing letters", "write letters"),
    ("looking at the stars", "watch the stars"),
    ("growing flowers", "work in the garden"),
    ("walking in the forest", "go for a walk"),
    ("playing the piano", "play the piano"),
    ("fixing old clocks", "fix clocks"),
    ("swimming in the lake", "swim"),
    ("writing small programs", "write programs"),
]

JOBS = [
    ("teacher", "teaches children to read"),
    ("baker", "bakes bread every morning"),
    ("doctor", "helps people who are ill"),
    ("farmer", "grows food in the fields"),
    ("sailor", "works on a ship"),
    ("painter", "paints pictures of the sea"),
    ("carpenter", "makes tables and chairs"),
    ("engineer", "builds bridges"),
    ("programmer", "writes code for computers"),
    ("gardener", "takes care of the flowers"),
    ("cook", "makes soup for everyone"),
    ("clockmaker", "fixes old clocks"),
]


@dataclass(frozen=True)
class Animal:
    """An animal, where it lives, what it eats, what it can do, the sound or habit it has."""

    noun: str
    home: str
    food: str
    can: str
    habit: str
    young: str


ANIMALS = [
    Animal("dog", "in a house with people", "meat and bones", "run fast", "barks", "puppy"),
    Animal("cat", "in a house with people", "fish and mice", "climb trees", "purrs", "kitten"),
    Animal("fox", "in a den in the forest", "mice and berries", "hide well", "hunts at night", "cub"),
    Animal("bear", "in a cave in the forest", "fish and honey", "stand on two legs", "sleeps in winter", "cub"),
    Animal("rabbit", "in a hole under the field", "grass and carrots", "jump high", "listens carefully", "kitten"),
    Animal("owl", "in an old tree", "mice", "see in the dark", "sleeps in the day", "owlet"),
    Animal("duck", "near a pond", "plants and worms", "swim and fly", "quacks", "duckling"),
    Animal("horse", "on a farm", "grass and hay", "carry people", "sleeps standing up", "foal"),
    Animal("cow", "on a farm", "grass", "give milk", "moos", "calf"),
    Animal("sheep", "on a farm", "grass", "give wool", "stays with its flock", "lamb"),
    Animal("fish", "in the water", "small plants", "swim", "breathes under water", "fry"),
    Animal("bee", "in a hive", "sweet juice from flowers", "make honey", "dances to show the way", "larva"),
    Animal("frog", "near a pond", "flies", "jump far", "sings at night", "tadpole"),
    Animal("mouse", "in a small hole", "seeds and cheese", "squeeze through tiny gaps", "moves quietly", "pup"),
    Animal("whale", "in the sea", "tiny sea animals", "dive very deep", "sings under water", "calf"),
    Animal("elephant", "in warm lands", "leaves and fruit", "lift heavy trees", "remembers its friends", "calf"),
    Animal("penguin", "on the cold coast", "fish", "swim very well", "walks in a funny way", "chick"),
    Animal("squirrel", "in a tree", "nuts", "leap from branch to branch", "hides nuts for winter", "kitten"),
]

FRIENDS_OF_THE_FOREST = ["owl", "fox", "bear", "rabbit", "duck", "frog", "mouse", "squirrel", "bee"]


@dataclass(frozen=True)
class Skill:
    """Something that can be learned: its verb phrase, how it fails at first, how it ends well."""

    verb: str
    fail: str
    success: str
    tool: str


SKILLS = [
    Skill("swim", "swallowed a lot of water", "swam across the pond", "the water"),
    Skill("ride a bike", "fell on the grass", "rode all the way to the bridge", "the bike"),
    Skill("bake bread", "burned the first loaf", "baked a soft warm loaf", "the oven"),
    Skill("play the piano", "hit the wrong keys", "played a whole song", "the keys"),
    Skill("paint", "spilled the blue paint", "painted a picture of the sea", "the brush"),
    Skill("read", "mixed up the letters", "read a whole page", "the book"),
    Skill("skate", "slipped on the ice", "skated in a big circle", "the ice"),
    Skill("whistle", "made no sound at all", "whistled a bright tune", "the tune"),
    Skill("climb", "slid down the rope", "reached the top of the tree", "the rope"),
    Skill("write a program", "forgot a small word", "made the computer count to ten", "the keyboard"),
    Skill("fix a clock", "lost a tiny wheel", "heard the clock tick again", "the clock"),
    Skill("sing", "forgot the words", "sang in front of the whole town", "the song"),
]


@dataclass(frozen=True)
class Project:
    """Something that can be built: of what, how it breaks, how it is mended, how it works."""

    noun: str
    material: str
    breaks: str
    mend: str
    works: str


PROJECTS = [
    Project(
        "boat",
        "wood and rope",
        "water came in through a hole",
        "closed the hole with wax",
        "the boat floated down the river",
    ),
    Project(
        "kite",
        "paper and string",
        "the paper tore in the wind",
        "glued a new piece of paper on it",
        "the kite rose high above the trees",
    ),
    Project(
        "birdhouse", "small boards and nails", "the roof fell off", "put in four more nails", "a little bird moved in"
    ),
    Project(
        "cart",
        "boards and old wheels",
        "one wheel came off",
        "tied the wheel on with wire",
        "the cart rolled down the hill",
    ),
    Project(
        "robot",
        "tin cans and wire",
        "the robot did not move",
        "turned the battery around",
        "the robot walked across the room",
    ),
    Project(
        "bridge",
        "stones and planks",
        "a plank broke in the middle",
        "found a stronger plank",
        "everyone could cross the stream",
    ),
    Project(
        "radio", "wire and an old box", "there was only noise", "moved the wire to the window", "music filled the room"
    ),
    Project(
        "computer",
        "old parts and a small screen",
        "the screen stayed dark",
        "pushed the loose cable back in",
        "green letters appeared on the screen",
    ),
    Project(
        "tent", "a blanket and two poles", "the poles fell over", "tied the poles to a tree", "the tent stood all night"
    ),
    Project(
        "lantern",
        "glass and a candle",
        "the flame went out",
        "made a small hole for the air",
        "the light shone through the night",
    ),
]


@dataclass(frozen=True)
class Weather:
    """A kind of weather, what it makes people do, and how it ends."""

    now: str
    past: str
    effect: str
    wear: str
    after: str


WEATHERS = [
    Weather(
        "raining", "rain fell all day", "the path was full of puddles", "a raincoat", "a rainbow stood over the hills"
    ),
    Weather(
        "snowing",
        "snow covered the ground",
        "the road was white and slippery",
        "a warm coat",
        "the children built a snowman",
    ),
    Weather("sunny", "the sun was hot", "everyone looked for shade", "a straw hat", "the evening was cool and calm"),
    Weather("windy", "a strong wind blew", "leaves flew through the air", "a scarf", "the air was still again"),
    Weather(
        "foggy",
        "thick fog lay on the fields",
        "nobody could see the road",
        "a bright jacket",
        "the fog slowly went away",
    ),
    Weather("cold", "ice covered the pond", "the birds were very quiet", "thick gloves", "the ice began to melt"),
]

RELATIVES = [
    ("mother", "she"),
    ("father", "he"),
    ("grandmother", "she"),
    ("grandfather", "he"),
    ("sister", "she"),
    ("brother", "he"),
    ("aunt", "she"),
    ("uncle", "he"),
    ("teacher", "she"),
    ("neighbour", "he"),
]

MORALS = [
    "a good friend helps without being asked",
    "it is never too late to try again",
    "sharing makes everyone happier",
    "being brave means going on when you are afraid",
    "small steps lead to big things",
    "asking for help is a good thing",
    "it is better to tell the truth",
    "patience is a kind of strength",
    "even the smallest one can help",
    "kind words cost nothing",
]
