//! Who waits for a free job, first come first served (H12).

use std::collections::VecDeque;

/// A queue whose members may leave from anywhere, in constant time.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// `None` where somebody left; never at the front.
    members: VecDeque<Option<T>>,
    /// The ticket of the front.
    first: u64,
    len: usize,
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Queue<T> {
        Queue {
            members: VecDeque::new(),
            // There is room before it, too.
            first: 1 << 62,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, member: T) -> Ticket {
        self.members.push_back(Some(member));
        self.len += 1;
        Ticket(self.first + self.members.len() as u64 - 1)
    }

    pub(crate) fn push_front(&mut self, member: T) -> Ticket {
        self.members.push_front(Some(member));
        self.first -= 1;
        self.len += 1;
        Ticket(self.first)
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let member = self.members.pop_front()?;
        self.first += 1;
        self.len -= 1;
        self.trim();
        member
    }

    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let index = usize::try_from(ticket.0.checked_sub(self.first)?).ok()?;
        self.members.get_mut(index)?.as_mut()
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let index = usize::try_from(ticket.0.checked_sub(self.first)?).ok()?;
        let member = self.members.get_mut(index)?.take()?;
        self.len -= 1;
        self.trim();
        Some(member)
    }

    fn trim(&mut self) {
        while let Some(None) = self.members.front() {
            self.members.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn first_come_first_served() {
        let mut queue = Queue::new();
        for n in 0..5 {
            queue.push(n);
        }
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn who_leaves_is_passed_over_and_the_others_keep_their_places() {
        let mut queue = Queue::new();
        let tickets: Vec<_> = (0..6).map(|n| queue.push(n)).collect();
        for gone in [0, 2, 5] {
            assert_eq!(queue.remove(tickets[gone]), Some(gone as i32));
            assert_eq!(queue.remove(tickets[gone]), None);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.get_mut(tickets[1]), None);
        assert_eq!(queue.get_mut(tickets[3]), Some(&mut 3));
        let late = queue.push(6);
        assert_eq!(queue.pop(), Some(3));
        assert_eq!(queue.pop(), Some(4));
        assert_eq!(queue.remove(late), Some(6));
        assert_eq!((queue.pop(), queue.len()), (None, 0));
    }

    #[test]
    fn who_has_had_its_turn_comes_first() {
        let mut queue = Queue::new();
        let last = queue.push(2);
        let first = queue.push_front(1);
        assert_eq!(queue.remove(first), Some(1));
        queue.push_front(0);
        assert_eq!(queue.get_mut(last), Some(&mut 2));
        assert_eq!((queue.pop(), queue.pop()), (Some(0), Some(2)));
        assert_eq!(queue.len(), 0);
    }
}
