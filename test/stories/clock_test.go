package stories_test

import (
	"runtime"
	"sync"
	"time"
)

// movedClock stands still unless it is moved. Replicas and provider of one world share it.
type movedClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movedClock) Since(since time.Time) time.Duration { return c.Now().Sub(since) }

func (c *movedClock) move(span time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(span)
}

// lifeClock is the clock of one replica. Whoever asks it the time in a replica that was killed gets no answer: its
// goroutine ends. That is how an answer that is still on its way to a dead process never arrives.
type lifeClock struct {
	*movedClock
	dead <-chan struct{}
}

func (c lifeClock) Now() time.Time {
	select {
	case <-c.dead:
		runtime.Goexit()
	default:
	}
	return c.movedClock.Now()
}

func (c lifeClock) Since(since time.Time) time.Duration { return c.Now().Sub(since) }
