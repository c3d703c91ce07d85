// Package pace says when a token request may be made, as far as others are concerned: slots bound how many are under way at
// once, circuits hold back those that are likely to fail like the ones before, and a census counts accounts.
//
// It remembers, and nothing more: it must never do I/O, look at a clock, or wait. All of it is lost with the process.
package pace

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"
)

// calledFor is for how long a slot is kept for whoever has been called.
const calledFor = 10 * time.Second

// Limits bound the token requests that are under way at once.
type Limits struct {
	// Namespace is for the accounts of one namespace, Total for all.
	Namespace, Total int
}

// Turn is what somebody wants a slot for.
type Turn struct {
	// Account is who asks; it has one slot at most.
	Account string
	// Client and Namespace are whose limits count. ClientLimit is the client's.
	Client, Namespace string
	ClientLimit       int
	// Deadline is when the account is without a usable token. The earliest goes first; zero: at once.
	Deadline time.Time
}

func (t Turn) lane() lane { return lane{t.Client, t.Namespace} }

// lane is what the accounts of one namespace have under way, or wait for, with one client.
type lane struct{ client, namespace string }

// Slots are handed out one by one, without waiting. Who finds none is noted, and is called when one is free: a free slot
// goes to the namespace that has the fewest, then to the client that has the fewest, then to the account that needs it first.
// So neither many accounts nor a provider that does not answer keep others from theirs. Safe for concurrent use.
type Slots struct {
	limits Limits

	mu         sync.Mutex
	held       map[string]*slot
	waiting    map[string]*waiter
	lanes      map[lane]*waiters
	clients    map[string]int
	limitOf    map[string]int
	namespaces map[string]int
	arrivals   uint64
}

// slot is one that is taken, or kept for whoever was called.
type slot struct {
	lane     lane
	answered bool
	called   time.Time // zero: it is taken
}

// NewSlots makes as many slots as the limits say.
func NewSlots(limits Limits) *Slots {
	return &Slots{
		limits: limits, held: map[string]*slot{}, waiting: map[string]*waiter{}, lanes: map[lane]*waiters{},
		clients: map[string]int{}, limitOf: map[string]int{}, namespaces: map[string]int{},
	}
}

// Take takes a slot, or notes who asked. It returns whom to call: a slot is kept for each of them.
func (s *Slots) Take(turn Turn, now time.Time) (taken bool, called []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	s.limitOf[turn.Client] = turn.ClientLimit
	defer s.tidy(turn.Client)
	if have, is := s.held[turn.Account]; is {
		switch {
		case have.called.IsZero():
			return false, s.call(now) // its earlier one is not given back yet
		case have.lane == turn.lane():
			have.called = time.Time{}
			return true, s.call(now)
		}
		s.drop(turn.Account)
	}
	s.leave(turn.Account)
	called = s.call(now) // whoever waits goes first
	if s.room(turn.lane()) {
		s.take(turn.Account, &slot{lane: turn.lane()})
		return true, called
	}
	s.arrivals++
	s.wait(&waiter{account: turn.Account, lane: turn.lane(), deadline: turn.Deadline, arrival: s.arrivals})
	return false, called
}

// Answered gives back the client's part of a slot: its provider has nothing to do any more. The rest is held until what came
// is kept.
func (s *Slots) Answered(account string, now time.Time) (called []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, is := s.held[account]
	if !is || have.answered {
		return nil
	}
	have.answered = true
	s.clients[have.lane.client]--
	return s.call(now)
}

// Give gives a slot back, or what is kept or noted for an account that does not want one any more.
func (s *Slots) Give(account string, now time.Time) (called []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, is := s.held[account]; !is {
		s.leave(account)
		return nil
	}
	s.drop(account)
	return s.call(now)
}

// Leave is Give for an account that may have a slot taken and goes on using it.
func (s *Slots) Leave(account string, now time.Time) (called []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(account)
	if have, is := s.held[account]; is && !have.called.IsZero() {
		s.drop(account)
		return s.call(now)
	}
	return nil
}

// Waits reports whether an account is noted, or called.
func (s *Slots) Waits(account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, is := s.held[account]
	_, waits := s.waiting[account]
	return waits || is && !have.called.IsZero()
}

// Use is how many requests of a client are under way, and how many wait.
type Use struct{ Open, Waiting int }

// Uses tells of the clients that have any.
func (s *Slots) Uses() map[string]Use {
	s.mu.Lock()
	defer s.mu.Unlock()
	uses := map[string]Use{}
	for _, have := range s.held {
		use := uses[have.lane.client]
		if have.called.IsZero() && !have.answered {
			use.Open++
		}
		uses[have.lane.client] = use
	}
	for _, one := range s.waiting {
		use := uses[one.lane.client]
		use.Waiting++
		uses[one.lane.client] = use
	}
	return uses
}

// What follows is called with s.mu held.

func (s *Slots) room(l lane) bool {
	return len(s.held) < s.limits.Total && s.namespaces[l.namespace] < s.limits.Namespace && s.clients[l.client] < s.limitOf[l.client]
}

func (s *Slots) take(account string, taken *slot) {
	s.held[account] = taken
	s.clients[taken.lane.client]++
	s.namespaces[taken.lane.namespace]++
}

func (s *Slots) drop(account string) {
	have := s.held[account]
	delete(s.held, account)
	if !have.answered {
		s.clients[have.lane.client]--
	}
	s.namespaces[have.lane.namespace]--
	if s.namespaces[have.lane.namespace] == 0 {
		delete(s.namespaces, have.lane.namespace)
	}
	s.tidy(have.lane.client)
}

// tidy forgets a client of which nothing is under way or waits.
func (s *Slots) tidy(client string) {
	if s.clients[client] > 0 {
		return
	}
	for l := range s.lanes {
		if l.client == client {
			return
		}
	}
	delete(s.clients, client)
	delete(s.limitOf, client)
}

// expire takes back what was kept for whoever did not come.
func (s *Slots) expire(now time.Time) {
	for account, have := range s.held {
		if !have.called.IsZero() && now.Sub(have.called).Abs() > calledFor {
			s.drop(account)
		}
	}
}

// call keeps what is free for those who wait.
func (s *Slots) call(now time.Time) (called []string) {
	for {
		var best *waiters
		for l, queue := range s.lanes {
			if s.room(l) && (best == nil || s.before(queue, best)) {
				best = queue
			}
		}
		if best == nil {
			return called
		}
		next := best.list[0]
		s.leave(next.account)
		s.take(next.account, &slot{lane: next.lane, called: now})
		called = append(called, next.account)
	}
}

func (s *Slots) before(a, b *waiters) bool {
	x, y := a.list[0], b.list[0]
	return cmp.Or(
		cmp.Compare(s.namespaces[x.lane.namespace], s.namespaces[y.lane.namespace]),
		cmp.Compare(s.clients[x.lane.client], s.clients[y.lane.client]),
		x.compare(y),
	) < 0
}

func (s *Slots) wait(one *waiter) {
	queue := s.lanes[one.lane]
	if queue == nil {
		queue = &waiters{}
		s.lanes[one.lane] = queue
	}
	heap.Push(queue, one)
	s.waiting[one.account] = one
}

func (s *Slots) leave(account string) {
	one, is := s.waiting[account]
	if !is {
		return
	}
	delete(s.waiting, account)
	queue := s.lanes[one.lane]
	heap.Remove(queue, one.place)
	if len(queue.list) == 0 {
		delete(s.lanes, one.lane)
	}
}

// waiter is who has found no slot.
type waiter struct {
	account  string
	lane     lane
	deadline time.Time
	arrival  uint64
	place    int
}

func (w *waiter) compare(other *waiter) int {
	return cmp.Or(w.deadline.Compare(other.deadline), cmp.Compare(w.arrival, other.arrival))
}

// waiters is a heap: the first is the one that is called next.
type waiters struct{ list []*waiter }

// Len, Less, Swap, Push and Pop are of heap.Interface.
func (w *waiters) Len() int { return len(w.list) }

// Less is of heap.Interface.
func (w *waiters) Less(i, j int) bool { return w.list[i].compare(w.list[j]) < 0 }

// Swap is of heap.Interface.
func (w *waiters) Swap(i, j int) {
	w.list[i], w.list[j] = w.list[j], w.list[i]
	w.list[i].place, w.list[j].place = i, j
}

// Push is of heap.Interface.
func (w *waiters) Push(one any) {
	added, is := one.(*waiter)
	if !is {
		return // nothing else is pushed
	}
	added.place = len(w.list)
	w.list = append(w.list, added)
}

// Pop is of heap.Interface.
func (w *waiters) Pop() any {
	last := w.list[len(w.list)-1]
	w.list = slices.Delete(w.list, len(w.list)-1, len(w.list))
	return last
}
