//! The producer's menu: create, send, list, active, help, quit.

use super::{Session, split_word};
use crate::commands::{send, topic};
use crate::failure::Failure;
use crate::output::{Column, cell};
use sluice_admin_client::call;
use sluice_model::topic::NewTopic;

const HELP: &str = "\
create <topic>           ask for a topic
send <topic> <message>   send a message; held until the topic is active
list                     all topics
active                   active topics
help                     this text
quit                     leave";

const ACTIVE: [Column; 4] = [
    ("NAME", "topic_name"),
    ("PARTITIONS", "partitions"),
    ("ACTIVE SINCE", "activated_at"),
    ("DESCRIPTION", "description"),
];

/// One line of the menu.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Create(&'a str),
    Send(&'a str, &'a str),
    List,
    Active,
    Help,
    Quit,
    Nothing,
    Wrong(&'static str),
    Unknown(&'a str),
}

fn parse(line: &str) -> Line<'_> {
    let (word, rest) = split_word(line);
    match word {
        "" => Line::Nothing,
        "create" => match split_word(rest) {
            ("", _) => Line::Wrong("create <topic>"),
            (topic, more) if more.trim().is_empty() => Line::Create(topic),
            _ => Line::Wrong("create <topic>"),
        },
        "send" => match split_word(rest) {
            ("", _) | (_, "") => Line::Wrong("send <topic> <message>"),
            (topic, message) => Line::Send(topic, message),
        },
        "list" => Line::List,
        "active" => Line::Active,
        "help" | "?" => Line::Help,
        "quit" | "exit" => Line::Quit,
        other => Line::Unknown(other),
    }
}

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    if session.printer.is_terminal() {
        session.printer.print(HELP)?;
    }
    while let Some(line) = session.printer.ask("> ")? {
        let outcome = match parse(&line) {
            Line::Quit => break,
            Line::Nothing => continue,
            line => act(session, &line),
        };
        session.told(outcome);
    }
    Ok(())
}

fn act(session: &Session<'_>, line: &Line<'_>) -> Result<(), Failure> {
    let context = session.context;
    match *line {
        Line::Create(name) => {
            session.same_as(&["topic", "request", name])?;
            let topic = NewTopic {
                name: name.to_owned(),
                ..NewTopic::default()
            };
            let answer = context.admin(call::request_topic(&topic))?;
            session.printer.print(&format!("{name}: {}", answer.status))
        }
        Line::Send(topic, message) => {
            session.same_as(&["send", topic, message])?;
            let answer = context
                .producer
                .post_records(send::record(topic, message, None, &[]))?;
            let outcome = &answer["records"][0];
            let sentence = send::sentence(topic, outcome);
            if outcome["state"] == "refused" {
                let exit = crate::failure::exit_of_code(&cell(outcome, "code"));
                return Err(Failure::new(exit, sentence));
            }
            session.printer.print(&sentence)
        }
        Line::List => {
            session.same_as(&["topic", "list"])?;
            let topics = context.admin(call::topics(None).raw())?;
            session.listing(&topics, &topic::COLUMNS, "there are no topics")
        }
        Line::Active => {
            session.same_as(&["topic", "list", "--status", "active"])?;
            let topics = context.admin(call::active().raw())?;
            session.listing(&topics, &ACTIVE, "no topic is active")
        }
        Line::Wrong(usage) => Err(Failure::new(
            crate::failure::Exit::Usage,
            format!("usage: {usage}"),
        )),
        Line::Unknown(word) => Err(unknown(word)),
        Line::Help | Line::Quit | Line::Nothing => session.printer.print(HELP),
    }
}

/// What a menu says to a word that it does not know.
pub(super) fn unknown(word: &str) -> Failure {
    let text = format!(
        "{:?} is no command here",
        crate::text::printable(word, false)
    );
    Failure::new(crate::failure::Exit::Usage, text).hint("help lists them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_white_space() {
        assert_eq!(
            parse("send news  two  spaces "),
            Line::Send("news", " two  spaces ")
        );
        assert_eq!(parse("send news Hello"), Line::Send("news", "Hello"));
    }

    #[test]
    fn lines_are_the_commands_of_the_reference() {
        assert_eq!(parse("create news_updates"), Line::Create("news_updates"));
        assert_eq!(parse("create a b"), Line::Wrong("create <topic>"));
        assert_eq!(parse("create"), Line::Wrong("create <topic>"));
        assert_eq!(parse("send news"), Line::Wrong("send <topic> <message>"));
        assert_eq!(parse("list"), Line::List);
        assert_eq!(parse("active"), Line::Active);
        assert_eq!(parse("help"), Line::Help);
        assert_eq!(parse("exit"), Line::Quit);
        assert_eq!(parse("  "), Line::Nothing);
        assert_eq!(parse("dance now"), Line::Unknown("dance"));
    }
}
