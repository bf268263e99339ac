//! What the server and the gateway say to each other, and how that breaks. The server's side is its link
//! task without the socket: it dials, pushes tables, takes in what comes back, and dials again when the
//! connection is gone. The world's side breaks connections, kills gateways and replaces them as planned:
//! in half of the cases the server dies with it, in the others it lives on, with all that it knows and
//! was about to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use ark_model::gateway::FromGateway;
use ark_model::route::RouteTable;
use ark_server::gateway_link::{Routes, take_report};
use ark_server::world::World;
use jiff::SignedDuration;

use super::{APPS, Simulation};
use crate::universe::Universe;

/// Tables that may be on their way; as many as the server may have unacknowledged (I9).
const TABLES_MAX: usize = 64;
/// Reports and answers that may be on their way; the gateway then waits with the next report.
const ANSWERS_MAX: usize = 8;
/// Between two rounds of the link.
const ROUND: SignedDuration = SignedDuration::from_millis(5);
/// Between two attempts to dial.
const REDIAL: SignedDuration = SignedDuration::from_millis(200);

/// The connection of the moment.
#[derive(Debug, Default)]
pub(super) struct Wires {
    /// Which it is; grows when one breaks.
    number: u64,
    /// Whether it stands.
    up: bool,
    to_gateway: VecDeque<RouteTable>,
    /// Reports that the server says it has stored.
    stored: VecDeque<u64>,
    from_gateway: VecDeque<FromGateway>,
    /// Tables that were on their way when a connection broke, and arrive late.
    late: VecDeque<RouteTable>,
}

impl Wires {
    /// The connection breaks: what was under way is lost. Answers the tables among it.
    pub(super) fn cut(&mut self) -> VecDeque<RouteTable> {
        self.number += 1;
        self.up = false;
        self.stored.clear();
        self.from_gateway.clear();
        std::mem::take(&mut self.to_gateway)
    }

    /// The server dies. What it had sent arrives, or not.
    pub(super) fn abandon(&mut self, arrives: bool) {
        let sent = self.cut();
        if arrives {
            self.late.extend(sent);
        }
    }

    fn dial(&mut self) -> u64 {
        self.up = true;
        self.number
    }

    fn stands(&self, number: u64) -> bool {
        self.up && self.number == number
    }
}

/// The server's link task.
pub(super) async fn run(world: World, wires: Arc<Mutex<Wires>>, universe: Arc<Mutex<Universe>>) {
    let mut routes = Routes::default();
    let mut last = None;
    loop {
        let number = wires.lock().unwrap().dial();
        let boot = universe.lock().unwrap().gateway.boot;
        if let Some(last) = last.replace(boot) {
            let what = match last == boot {
                true => "link made anew under a living server",
                false => "another gateway under a living server",
            };
            universe.lock().unwrap().cover(what);
        }
        world.observations.connected(boot, 1, Vec::new(), world.clock.now());
        routes.forget_pushed();
        while serve(&world, &mut routes, &wires, number).await {
            world.clock.sleep_until(world.clock.now() + ROUND).await;
        }
        world.observations.disconnected(world.clock.now());
        world.clock.sleep_until(world.clock.now() + REDIAL).await;
    }
}

/// One round of a connection; answers whether it still stands.
async fn serve(world: &World, routes: &mut Routes, wires: &Mutex<Wires>, number: u64) -> bool {
    let message = {
        let mut wires = wires.lock().unwrap();
        if !wires.stands(number) {
            return false;
        }
        wires.from_gateway.pop_front()
    };
    match message {
        Some(FromGateway::Ack { generation }) => routes.acknowledged(world, generation),
        Some(FromGateway::Refused { generation, reason }) => {
            routes.refused(world, generation, &reason);
        }
        Some(FromGateway::Report(report)) => {
            if take_report(world, &report).await.is_ok() {
                let mut wires = wires.lock().unwrap();
                if wires.stands(number) {
                    wires.stored.push_back(report.seq);
                }
            }
        }
        Some(FromGateway::Hello { .. }) | None => {}
    }
    if let Ok(Some(table)) = routes.next_table(world).await {
        let mut wires = wires.lock().unwrap();
        if !wires.stands(number) {
            return false;
        }
        wires.to_gateway.push_back(table);
    }
    true
}

impl Simulation {
    /// The connection breaks. A table that was on its way may still arrive, late, from the old one.
    pub(super) fn lose_connection(&mut self) {
        self.cover("connection lost");
        let stale = self.wires.lock().unwrap().cut();
        let lost = self.dice.one_in(4);
        self.break_life();
        if !lost {
            self.wires.lock().unwrap().late.extend(stale);
        }
    }

    /// The gateway is killed, or replaced as planned, and the connection is gone with it.
    pub(super) fn lose_gateway(&mut self) {
        let ids = self.ids.clone();
        // Where none is killed, all that was counted can be looked for in the end.
        let planned = self.seed.is_multiple_of(3) || self.dice.one_in(3);
        let gone = {
            let mut universe = self.universe.lock().unwrap();
            match planned {
                true => universe.replace_gateway(&ids),
                false => {
                    universe.kill_gateway(&ids);
                    true
                }
            }
        };
        if !gone {
            return;
        }
        self.note(if planned { "gateway replaced" } else { "gateway killed" });
        let mut wires = self.wires.lock().unwrap();
        wires.cut();
        wires.late.clear();
        drop(wires);
        let lives = !self.break_life() && self.life.is_some();
        match planned {
            true if lives => self.cover("gateway replaced under a living server"),
            false if lives => self.cover("gateway killed under a living server"),
            true | false => {}
        }
    }

    /// In half of the cases the server dies with its connection; answers whether it did.
    fn break_life(&mut self) -> bool {
        let dies = self.dice.one_in(2);
        if dies {
            self.crash();
            self.start();
        }
        dies
    }

    /// The gateway takes the next table that was sent to it, and hears what is stored.
    pub(super) fn gateway(&mut self) {
        let late = self.wires.lock().unwrap().late.front().cloned();
        if let Some(late) = late.filter(|_| self.dice.one_in(4)) {
            self.wires.lock().unwrap().late.pop_front();
            self.gateway_takes(late, false);
        }
        let (table, stored, waiting) = {
            let mut wires = self.wires.lock().unwrap();
            let waiting = wires.to_gateway.len();
            (wires.to_gateway.pop_front(), wires.stored.drain(..).next_back(), waiting)
        };
        if waiting > TABLES_MAX {
            let what = format!("I9: {waiting} tables wait for the gateway");
            self.universe.lock().unwrap().violations.push(what);
        }
        if let Some(seq) = stored {
            self.universe.lock().unwrap().gateway.stored(seq);
        }
        if let Some(table) = table {
            self.gateway_takes(table, true);
        }
    }

    fn gateway_takes(&mut self, table: RouteTable, answer: bool) {
        for name in APPS {
            self.floor(name);
        }
        let generation = table.generation;
        let applied = self.universe.lock().unwrap().apply(table);
        if !answer {
            return;
        }
        let message = if applied {
            FromGateway::Ack { generation }
        } else {
            FromGateway::Refused { generation, reason: "older than the one in force".into() }
        };
        let mut wires = self.wires.lock().unwrap();
        wires.from_gateway.push_back(message.clone());
        // Now and then an acknowledgement arrives twice.
        if self.dice.one_in(10) {
            wires.from_gateway.push_back(message);
        }
    }

    pub(super) fn report(&mut self) {
        let mut wires = self.wires.lock().unwrap();
        if wires.up && wires.from_gateway.len() < ANSWERS_MAX {
            let report = self.universe.lock().unwrap().report();
            wires.from_gateway.push_back(FromGateway::Report(report));
        }
    }
}
