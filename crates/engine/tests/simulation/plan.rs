//! Hides what happens in a world: its teams and endpoints, what is published and done by hand, and what goes
//! wrong, all of it following from one number.

use crate::habit::Habit;
use crate::random::Random;

/// What is to happen in a world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) limits: Limits,
    pub(crate) teams: usize,
    /// All teams' endpoints.
    pub(crate) places: Vec<PlacePlan>,
    /// In the order of their times.
    pub(crate) steps: Vec<Step>,
}

/// How many attempts may be in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) all: usize,
    pub(crate) team: usize,
    pub(crate) endpoint: usize,
}

/// An endpoint as it is made.
#[derive(Clone, Debug)]
pub(crate) struct PlacePlan {
    pub(crate) team: usize,
    pub(crate) habit: Habit,
    /// None: all.
    pub(crate) types: Vec<&'static str>,
}

/// Something that happens, and when: in milliseconds from the beginning of the world.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Somebody does something, and waits for the answer.
    Act(Act),
    /// The store's disk behaves like this from now on.
    Disk(Trouble),
    /// The service can or cannot send from now on, for a reason of its own.
    Net(Net),
    /// Somebody sets the wall clock, by so many milliseconds.
    Clock(i64),
    /// The process dies, and is started again after so many milliseconds.
    Crash { down: u64 },
    /// The process is asked to stop, with so much time to do it in, and started again.
    Restart { grace: u64, down: u64 },
}

/// What people do. Places are endpoints by their number.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A call with these events; `persists`: it is repeated until it is answered.
    Publish {
        team: usize,
        items: Vec<Item>,
        persists: bool,
    },
    Pause(usize, bool),
    Disable(usize, bool),
    /// The URL is changed, and the receiver there has this habit.
    Move(usize, Habit),
    Delete(usize),
    /// A new secret; the old one stays for so many milliseconds.
    Rotate(usize, u64),
    /// One of the deliveries that are known by then.
    RetryOne(u64),
    /// The dead letters of an endpoint: of the last so many milliseconds, or all.
    RetryAll(usize, Option<u64>),
    Test(usize, Item),
    /// Retention, with what is kept for so long; none: finished events stay.
    Sweep(Option<u64>),
}

/// An event to publish.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Stands in its body, and in no other event's.
    pub(crate) marker: u64,
    pub(crate) event_type: &'static str,
    pub(crate) key: Option<String>,
}

/// How the store's disk behaves: chances in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// A commit fails, and nothing of it was done.
    pub(crate) lost: u64,
    /// A commit is done, and answered as if it had failed.
    pub(crate) unanswered: u64,
    /// A publication is refused since too much is queued.
    pub(crate) full: u64,
    /// A read fails.
    pub(crate) unreadable: u64,
    /// A commit takes up to so many milliseconds more.
    pub(crate) slow: u64,
}

/// What becomes of an attempt before it reaches anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Net {
    #[default]
    Well,
    /// No name server answers, until the attempt's deadline.
    Silent,
    /// There is no port, file or route for a connection.
    NoPorts,
}

pub(crate) const TYPES: [&str; 4] = [
    "deal_room.created",
    "document.viewed",
    "link.clicked",
    "team.member_joined",
];

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Random::new(seed);
        let teams = 1 + dice.below(3);
        let places = (0..1 + dice.below(8))
            .map(|_| PlacePlan {
                team: dice.below(teams),
                habit: Habit::any(&mut dice),
                types: types(&mut dice),
            })
            .collect::<Vec<_>>();
        let limits = Limits {
            all: 2 + dice.below(30),
            team: 1 + dice.below(16),
            endpoint: 1 + dice.below(8),
        };
        let mut draft = Draft {
            teams,
            places: places.len(),
            dice,
            steps: Vec::new(),
            markers: 0,
            keyed: Vec::new(),
        };
        let episodes = 2 + draft.dice.below(3);
        let mut at = 0;
        for _ in 0..episodes {
            at += SECOND + draft.any_below(30 * MINUTE);
            draft.episode(at);
            at += 2 * MINUTE;
        }
        let mut steps = draft.steps;
        steps.sort_by_key(|step| step.at);
        Self {
            seed,
            limits,
            teams,
            places,
            steps,
        }
    }
}

/// None: all types.
fn types(dice: &mut Random) -> Vec<&'static str> {
    let mut types = TYPES;
    dice.shuffle(&mut types);
    let count = [0, 0, 1, 2, 3][dice.below(5)];
    types[..count].to_vec()
}

struct Draft {
    teams: usize,
    places: usize,
    dice: Random,
    steps: Vec<Step>,
    markers: u64,
    /// What was published under a key, and by which team.
    keyed: Vec<(usize, Item)>,
}

impl Draft {
    fn any_below(&mut self, end: u64) -> u64 {
        self.dice.any() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.any_below(100) < percent
    }

    fn place(&mut self) -> usize {
        self.dice.below(self.places)
    }

    fn add(&mut self, at: u64, what: What) {
        self.steps.push(Step { at, what });
    }

    /// A minute or two in which a lot happens at once; between episodes the world is quiet.
    fn episode(&mut self, begin: u64) {
        for _ in 0..1 + self.dice.below(4) {
            let at = begin + self.any_below(40 * SECOND);
            self.publishing(at);
        }
        for _ in 0..self.dice.below(5) {
            let at = begin + self.any_below(80 * SECOND);
            self.by_hand(at);
        }
        if self.chance(45) {
            let at = begin + self.any_below(30 * SECOND);
            let trouble = self.trouble();
            let end = at + 200 + self.any_below(15 * SECOND);
            self.add(at, What::Disk(trouble));
            self.add(end, What::Disk(Trouble::default()));
        }
        if self.chance(35) {
            let at = begin + self.any_below(50 * SECOND);
            let net = [Net::Silent, Net::NoPorts][self.dice.below(2)];
            let longest = [2 * SECOND, MINUTE][self.dice.below(2)];
            let end = at + 100 + self.any_below(longest);
            self.add(at, What::Net(net));
            self.add(end, What::Net(Net::Well));
        }
        if self.chance(40) {
            let at = begin + self.any_below(50 * SECOND);
            let down = self.down();
            self.add(at, What::Crash { down });
        }
        if self.chance(15) {
            let at = begin + self.any_below(90 * SECOND);
            let grace = [0, 500, 15 * SECOND][self.dice.below(3)];
            let down = self.down();
            self.add(at, What::Restart { grace, down });
        }
        if self.chance(20) {
            let at = begin + self.any_below(90 * SECOND);
            let step = [HOUR, 30 * DAY][self.dice.below(2)] as i64;
            let step = if self.chance(50) { step } else { -step };
            self.add(at, What::Clock(step));
        }
    }

    fn down(&mut self) -> u64 {
        match self.dice.below(4) {
            0 => 0,
            1..=2 => self.any_below(5 * SECOND),
            _ => self.any_below(5 * MINUTE),
        }
    }

    fn trouble(&mut self) -> Trouble {
        let calm = Trouble::default();
        let often = 30 + self.any_below(71);
        match self.dice.below(6) {
            0 => Trouble {
                lost: often,
                ..calm
            },
            1 => Trouble {
                unanswered: often,
                ..calm
            },
            2 => Trouble {
                unreadable: often,
                ..calm
            },
            3 => Trouble {
                slow: 3 * SECOND,
                ..calm
            },
            4 => Trouble {
                full: often,
                ..calm
            },
            _ => Trouble {
                lost: 20,
                unanswered: 20,
                full: 10,
                unreadable: 30,
                slow: 200,
            },
        }
    }

    fn item(&mut self, team: usize, keyed: bool) -> Item {
        self.markers += 1;
        let marker = self.markers;
        let item = Item {
            marker,
            event_type: TYPES[self.dice.below(TYPES.len())],
            key: keyed.then(|| format!("key-{marker}")),
        };
        if keyed {
            self.keyed.push((team, item.clone()));
        }
        item
    }

    fn publish(&mut self, at: u64, team: usize, items: Vec<Item>) {
        let persists = self.chance(60);
        self.add(
            at,
            What::Act(Act::Publish {
                team,
                items,
                persists,
            }),
        );
    }

    fn publishing(&mut self, at: u64) {
        let team = self.dice.below(self.teams);
        match self.dice.below(10) {
            0..=1 => {
                let keyed = self.chance(30);
                for _ in 0..2 + self.dice.below(8) {
                    let item = self.item(team, keyed);
                    let later = self.any_below(3);
                    self.publish(at + later, team, vec![item]);
                }
            }
            2..=4 => {
                let keyed = self.chance(50);
                let item = self.item(team, keyed);
                self.publish(at, team, vec![item]);
            }
            5..=6 => {
                let keyed = self.chance(50);
                let count = 2 + self.dice.below(5);
                let items = (0..count).map(|_| self.item(team, keyed)).collect();
                self.publish(at, team, items);
            }
            7..=8 => {
                // The same event under the same key: at once, or soon.
                let item = self.item(team, true);
                let pause = [1, 3 * SECOND, 20 * SECOND][self.dice.below(3)];
                self.publish(at, team, vec![item.clone()]);
                self.publish(at + pause, team, vec![item]);
            }
            _ => match self.keyed.len() {
                0 => {
                    let item = self.item(team, true);
                    self.publish(at, team, vec![item]);
                }
                known => {
                    // An old key, for the same event or for another.
                    let (team, mut item) = self.keyed[self.dice.below(known)].clone();
                    if self.chance(30) {
                        self.markers += 1;
                        item.marker = self.markers;
                    }
                    self.publish(at, team, vec![item]);
                }
            },
        }
    }

    fn by_hand(&mut self, at: u64) {
        let place = self.place();
        let back = at + self.any_below(60 * SECOND);
        let act = match self.dice.below(14) {
            0..=1 => {
                self.add(back, What::Act(Act::Pause(place, false)));
                Act::Pause(place, true)
            }
            2 => {
                self.add(back, What::Act(Act::Disable(place, false)));
                Act::Disable(place, true)
            }
            3 => Act::Pause(place, true),
            4 => Act::Delete(place),
            5..=6 => Act::Rotate(place, [0, 30 * SECOND, DAY][self.dice.below(3)]),
            7 => Act::Move(place, Habit::any(&mut self.dice)),
            8..=9 => Act::RetryOne(self.dice.any()),
            10 => Act::RetryAll(place, None),
            11 => Act::RetryAll(place, Some(self.any_below(HOUR))),
            12 => Act::Test(place, self.item(0, false)),
            _ => Act::Sweep([None, Some(0), Some(20 * MINUTE)][self.dice.below(3)]),
        };
        self.add(at, What::Act(act));
    }
}
