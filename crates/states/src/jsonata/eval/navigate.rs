//! Steps into values: names, wildcards, descendants.

use super::{Run, with_stack};
use crate::jsonata::error::Result;
use crate::jsonata::value::Val;

impl Run<'_> {
    /// The member of an object, or of each object of an array.
    pub(in crate::jsonata) fn lookup(&self, input: &Val, key: &str) -> Result<Val> {
        if !input.is_array() {
            return Ok(input.member(key).unwrap_or(Val::Undefined));
        }
        let mut found = Vec::new();
        self.collect(input, key, &mut found)?;
        self.sequence(found)
    }

    pub(super) fn collect(&self, input: &Val, key: &str, found: &mut Vec<Val>) -> Result<()> {
        self.steps(input.len())?;
        for index in 0..input.len() {
            let Some(item) = input.item(index) else { continue };
            if item.is_array() {
                with_stack(|| self.collect(&item, key, found))?;
                continue;
            }
            match item.member(key) {
                None | Some(Val::Undefined) => {}
                Some(value) if value.is_array() => {
                    self.room(value.len())?;
                    found.extend(value.items());
                }
                Some(value) => found.push(value),
            }
        }
        Ok(())
    }

    pub(super) fn wildcard(&self, input: &Val) -> Result<Val> {
        let values: Vec<Val> = if input.is_array() {
            input.items()
        } else {
            input.entries().into_iter().map(|(_, value)| value).collect()
        };
        self.steps(values.len())?;
        let mut found = Vec::new();
        let mut appended = false;
        for value in values {
            if value.is_array() {
                appended = true;
                self.flatten(&value, &mut found)?;
            } else {
                found.push(value);
            }
        }
        if appended { self.array(found) } else { self.sequence(found) }
    }

    pub(super) fn flatten(&self, value: &Val, out: &mut Vec<Val>) -> Result<()> {
        self.room(value.len())?;
        for item in value.items() {
            if item.is_array() {
                with_stack(|| self.flatten(&item, out))?;
            } else {
                out.push(item);
            }
        }
        Ok(())
    }

    pub(super) fn descendants(&self, input: &Val) -> Result<Val> {
        if input.is_undefined() {
            return Ok(Val::Undefined);
        }
        let mut found = Vec::new();
        self.descend(input, &mut found)?;
        if found.len() == 1 { Ok(found.remove(0)) } else { self.sequence(found) }
    }

    pub(super) fn descend(&self, value: &Val, out: &mut Vec<Val>) -> Result<()> {
        self.room(1)?;
        if value.is_array() {
            for item in value.items() {
                with_stack(|| self.descend(&item, out))?;
            }
            return Ok(());
        }
        out.push(value.clone());
        for (_, member) in value.entries() {
            with_stack(|| self.descend(&member, out))?;
        }
        Ok(())
    }
}
