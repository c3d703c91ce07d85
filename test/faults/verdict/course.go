package main

import (
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/test/faults/records"
)

// course is the log of faults, in order.
type course struct {
	faults []records.Fault
	starts []time.Time
}

func courseOf(faults []records.Fault) course {
	faults = slices.Clone(faults)
	slices.SortStableFunc(faults, func(a, b records.Fault) int { return a.Time.Compare(b.Time) })
	of := course{faults: faults}
	for _, fault := range faults {
		if fault.Kind == records.ProcessStarts {
			of.starts = append(of.starts, fault.Time)
		}
	}
	return of
}

// calm is when the last calm of an account began.
func (c course) calm(account string) time.Time {
	var last time.Time
	for _, fault := range c.faults {
		if fault.Kind == records.Calm && fault.Account == account {
			last = fault.Time
		}
	}
	return last
}

// phaseAt is the phase that a moment falls into.
func (c course) phaseAt(at time.Time) records.Fault {
	var phase records.Fault
	for _, fault := range c.faults {
		if fault.Kind == records.PhaseBegins && !fault.Time.After(at) {
			phase = fault
		}
	}
	return phase
}

// deathAfter is the first end of a process of the replica after a moment; of any, if the replica is not known.
func (c course) deathAfter(replica string, at time.Time) (records.Fault, bool) {
	for _, fault := range c.faults {
		if (fault.Kind == records.ProcessKilled || fault.Kind == records.ProcessEnded) && !fault.Time.Before(at) &&
			(replica == "" || fault.Replica == replica) {
			return fault, true
		}
	}
	return records.Fault{}, false
}

// asleepWithin: a process of the replica was stopped at some time between the two, and went on later. One that was stopped
// and then killed did not sleep; it died.
func (c course) asleepWithin(replica string, from, to time.Time) bool {
	stopped := map[string]time.Time{}
	for _, fault := range c.faults {
		if replica != "" && fault.Replica != replica {
			continue
		}
		switch fault.Kind {
		case records.ProcessStopped:
			stopped[fault.Process] = fault.Time
		case records.ProcessContinued:
			since, was := stopped[fault.Process]
			if was && !since.After(to) && !fault.Time.Before(from) {
				return true
			}
			delete(stopped, fault.Process)
		case records.ProcessKilled:
			delete(stopped, fault.Process)
		default:
		}
	}
	return false
}

// startedBefore is when the process of the replica that ran at a moment was started.
func (c course) startedBefore(replica string, at time.Time) time.Time {
	var last time.Time
	for _, fault := range c.faults {
		if fault.Kind == records.ProcessStarts && fault.Replica == replica && !fault.Time.After(at) {
			last = fault.Time
		}
	}
	return last
}
