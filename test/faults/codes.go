package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	// arriveTime is how long is waited until those who consent have come to where they are met.
	arriveTime = 4500 * time.Millisecond
	// visitTime bounds the way of one person, restLimit the time until an account has none of a code left open.
	visitTime = 100 * time.Second
	restLimit = 100 * time.Second
	// atOnce is how many people are on their way in one round, newcomers how many of the accounts are new.
	atOnce    = 14
	newcomers = 3
	// mostFailures is how many attempts may have come to nothing: the pages stop taking more after five within an hour.
	mostFailures = 3
	// reloadPause is how long somebody waits who reloads a page that did not come, at first; longestReload is what it grows to.
	reloadPause   = 500 * time.Millisecond
	longestReload = 4 * time.Second
)

// consents knows whom a code was given for, from the provider's ledger.
type consents struct {
	ledger string

	mu       sync.Mutex
	offset   int64
	accounts map[string]string
}

// accountOf is the account that consented to a code; "": none is known.
func (c *consents) accountOf(fingerprint string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, known := c.accounts[fingerprint]; known {
		return name
	}
	c.readOn()
	return c.accounts[fingerprint]
}

// readOn reads what the ledger has more than before. Codes are in it before the browser has them.
func (c *consents) readOn() {
	file, err := os.Open(c.ledger)
	if err != nil {
		return
	}
	defer file.Close() //nolint:errcheck // it was read only
	if _, err := file.Seek(c.offset, io.SeekStart); err != nil {
		return
	}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // a line that is not whole yet is read again
		}
		c.offset += int64(len(line))
		var entry provider.Entry
		if json.Unmarshal(line, &entry) == nil && entry.Kind == provider.KindCodeIssued {
			c.accounts[entry.CodeFingerprint] = entry.User
		}
	}
}

// round is one time in which people consent and something happens to them.
type round struct {
	// points are where they are met, one after the other; none: nowhere.
	points []*point
	// before is done when nobody is on their way yet.
	before func()
	// strike is the fault, once they have arrived.
	strike func(ctx context.Context) error
}

// visits has people follow the links of accounts, each to the point where it is met, and plays the fault. Then it waits until
// everybody has come to an end, and no code is open any more.
func (r *run) visits(ctx context.Context, p phase, number int, of round) error {
	r.director.play(&script{phase: p.name, limit: codeHold, assigned: true})
	guests, err := r.guests(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	for i, each := range guests {
		if len(of.points) > 0 {
			r.director.assign(each.Name, of.points[(i+number)%len(of.points)])
		}
	}
	if of.before != nil {
		of.before()
	}
	wait := r.follow(ctx, guests)
	if len(of.points) > 0 {
		r.arrived(ctx, len(guests))
	}
	if err := of.strike(ctx); err != nil {
		return err
	}
	wait()
	open := r.settled(ctx)
	r.director.play(nil)
	r.logf("%s: round %d of %d, %d people, took %s%s", p.name, number+1, p.rounds, len(guests), time.Since(began).Round(100*time.Millisecond), open)
	return ctx.Err()
}

// guests are the accounts that somebody consents to in a round: some that are new, and others whose grant works, or did not
// come to be.
func (r *run) guests(ctx context.Context) ([]actor, error) {
	known := map[string]bool{}
	for _, each := range r.director.see() {
		known[each.Name] = true
	}
	for i := range min(newcomers, len(r.kinds)) {
		if err := r.accounts.create(ctx, r.kinds[(len(known)+i)%len(r.kinds)]); err != nil {
			return nil, err
		}
	}
	if err := r.linked(ctx, func(each *actor) bool { return !known[each.Name] }); err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(r.director.see(), func(each actor) bool {
		return each.link == "" || each.failures > mostFailures || each.lost() || each.handOver != "" || each.exchange != ""
	})
	// The new ones come last.
	for i := range max(len(all)-newcomers, 0) {
		j := i + int(r.director.number(time.Duration(len(all)-newcomers-i)))
		all[i], all[j] = all[j], all[i]
	}
	return all[max(len(all)-atOnce, 0):], nil
}

// linked waits until accounts have a link.
func (r *run) linked(ctx context.Context, wanted func(*actor) bool) error {
	missing := ""
	if !await(ctx, restLimit, func() bool {
		missing = ""
		for _, each := range r.director.see() {
			if wanted(&each) && each.link == "" {
				missing = each.Name
			}
		}
		return missing == ""
	}) {
		return fmt.Errorf("the account %s has no link", missing)
	}
	return nil
}

// follow has people follow the links, all at once. What comes back waits for the last of them.
func (r *run) follow(ctx context.Context, guests []actor) (wait func()) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.rest, visitTime))
	var all sync.WaitGroup
	for i, each := range guests {
		all.Go(func() {
			// Some close the tab where nothing comes.
			visit := r.visit(ctx, each, i%4 > 0)
			visit.Time = time.Now().UTC()
			r.people.Write(visit)
		})
	}
	return func() {
		all.Wait()
		cancel()
	}
}

// visit is the way of one person. A patient one reloads what did not come, as a browser's user does.
func (r *run) visit(ctx context.Context, of actor, patient bool) records.Visit {
	visit := records.Visit{Account: of.Name}
	who, err := person.New(person.Options{
		CAFiles: []string{r.stage.Front.CAFile, r.stage.Provider.CAFile},
		Fields:  map[string]string{"login": of.Name},
		// Each calls from an address of their own: nobody is to wait for others.
		Address: fmt.Sprintf("198.51.%d.%d", r.director.number(256), r.director.number(256)),
	})
	if err != nil {
		r.logf("nobody can consent: %v", err)
		return visit
	}
	defer who.Close()
	target := of.link
	for wait := reloadPause; ctx.Err() == nil; wait = min(2*wait, longestReload) {
		page, err := who.Follow(ctx, target)
		if err != nil {
			pause(ctx, wait)
			continue
		}
		visit.Status, visit.Heading, visit.Flow = page.Status, page.Heading, ""
		if strings.HasSuffix(page.URL.Path, "/result") {
			visit.Flow = page.URL.Query().Get("flow")
		}
		came := page.Status != http.StatusBadGateway && page.Status != http.StatusServiceUnavailable
		if came || !patient {
			return visit
		}
		target = page.URL.String()
		pause(ctx, wait)
	}
	return visit
}

// arrived waits until as many requests are held as people are on their way, or no longer than those can be held that came first.
func (r *run) arrived(ctx context.Context, wanted int) {
	await(ctx, arriveTime, func() bool { return len(r.director.holdingNow()) >= wanted })
}

// settled waits until no account has a code that waits or is exchanged, and tells of those that have.
func (r *run) settled(ctx context.Context) string {
	var open []string
	if await(ctx, cmp.Or(r.rest, restLimit), func() bool {
		open = nil
		for _, each := range r.director.see() {
			if each.handOver != "" || each.exchange != "" {
				open = append(open, each.Name)
			}
		}
		return len(open) == 0
	}) {
		return ""
	}
	return fmt.Sprintf("; still open: %v", open)
}

// codeKills kills the operator, or the pages, while people are at all the points that there are.
func (r *run) codeKills(ctx context.Context, p phase) error {
	for number := range p.rounds {
		points, victim := append(codes(), handOvers()[1]), r.first
		switch {
		case p.together:
			points = append(codes(), handOvers()...)
		case number%3 == 1 && !p.podGone:
			points, victim = handOvers(), r.pages
		}
		err := r.visits(ctx, p, number, round{points: points, strike: func(ctx context.Context) error {
			if err := r.strikeCodes(ctx, victim, number, p.podGone); err != nil {
				return err
			}
			return victim.again(ctx)
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// strikeCodes kills a process: as it stands; right after answers came that it could not read, or just could; or while results
// are being kept.
func (r *run) strikeCodes(ctx context.Context, victim *replica, number int, podGone bool) error {
	switch number % 4 {
	case 0:
		// Stopped first, so that the answers are delivered and nobody reads them.
		if err := victim.stop(ctx); err != nil {
			return err
		}
		r.release(classCodeToken, 0)
		pause(ctx, 8*time.Millisecond)
	case 2:
		r.release(classCodeToken, 3*time.Millisecond)
		r.release(classCodeKeep, 3*time.Millisecond)
		pause(ctx, r.director.number(10*time.Millisecond))
	default:
	}
	if err := victim.kill(podGone); err != nil {
		return err
	}
	r.director.hit()
	return nil
}

// codeTerminations sends SIGTERM to the operator, to the pages, or to both.
func (r *run) codeTerminations(ctx context.Context, p phase) error {
	for number := range p.rounds {
		victims := [][]*replica{{r.first}, {r.pages}, {r.first, r.pages}}[number%3]
		err := r.visits(ctx, p, number, round{points: append(codes(), handOvers()...), strike: func(ctx context.Context) error {
			var all sync.WaitGroup
			errs := make([]error, len(victims))
			for i, each := range victims {
				all.Go(func() {
					if errs[i] = each.terminate(); errs[i] == nil {
						errs[i] = each.again(ctx)
					}
				})
			}
			all.Wait()
			return firstOf(errs)
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// codeOutage has the API server refuse all writes for a while, from when people are at all points; or, for a shorter time, from
// before they go.
func (r *run) codeOutage(ctx context.Context, p phase) error {
	long := round{points: append(only(codes(), classCodeClaim, classCodeToken), handOvers()[1]), strike: func(ctx context.Context) error {
		r.refuseWrites(true)
		defer r.refuseWrites(false)
		r.release(classCodeToken, 0)
		pause(ctx, p.length)
		return nil
	}}
	short := round{before: func() { r.refuseWrites(true) }, strike: func(ctx context.Context) error {
		defer r.refuseWrites(false)
		pause(ctx, p.length/6)
		return nil
	}}
	for number := range p.rounds {
		if err := r.visits(ctx, p, number, []round{long, short}[number%2]); err != nil {
			return err
		}
		// What was refused is written, or the two are one.
		pause(ctx, 5*time.Second)
	}
	return nil
}

// codeReplies loses requests and replies one by one.
func (r *run) codeReplies(ctx context.Context, p phase) error {
	for number := range p.rounds {
		points := lostCodes()
		err := r.visits(ctx, p, number*len(points)/2, round{points: points, strike: func(context.Context) error { return nil }})
		if err != nil {
			return err
		}
	}
	return nil
}

// codeSleep stops the leader while people are at all of the operator's points, until another has given up, or finished, what it
// held; then it goes on.
func (r *run) codeSleep(ctx context.Context, p phase) error {
	for number := range p.rounds {
		var leader *replica
		err := r.visits(ctx, p, number, round{points: codes(), strike: func(ctx context.Context) error {
			leader = r.leader()
			if err := leader.stop(ctx); err != nil {
				return err
			}
			r.director.letGo()
			return nil
		}})
		if err != nil {
			return err
		}
		if err := leader.resume(); err != nil {
			return err
		}
		// It loses its lease, ends what is open, and is started again.
		pause(ctx, 10*time.Second)
	}
	return nil
}

// consentAgain has everybody consent once more whose last attempt came to nothing, but for some whose earlier grant is to go on.
func (r *run) consentAgain(ctx context.Context, p phase) error {
	if settled := r.settled(ctx); settled != "" {
		r.logf("%s%s", p.name, settled)
	}
	var guests []actor
	for i, each := range r.director.see() {
		without := each.sealed == "" || each.outcome != "" && each.outcome != string(v1alpha1.AuthorizationConnected)
		if without && each.link != "" && each.failures <= mostFailures && (each.sealed == "" || p.quick || i%2 == 0) {
			guests = append(guests, each)
		}
	}
	r.follow(ctx, guests)()
	if settled := r.settled(ctx); settled != "" {
		r.logf("%s, when all consented again%s", p.name, settled)
	}
	return ctx.Err()
}
