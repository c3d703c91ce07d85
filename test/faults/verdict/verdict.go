package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The invariants, by the names that the protocol's model gives them.
const (
	// invariantOneSend: a refresh token is sent once under one claim, and each further try is counted up.
	invariantOneSend = "I1"
	// invariantReceived: what a live process received is not lost.
	invariantReceived = "I2"
	// invariantForward: a status never goes back.
	invariantForward = "I3"
	// invariantOurs: a loss is surfaced as ours.
	invariantOurs = "I4"
	// invariantSettles: without further faults, an account is usable again or says that a person is needed.
	invariantSettles = "I5"
	// invariantReplay: a replay never overwrites something newer.
	invariantReplay = "I6"
	// invariantHost: a refresh token never goes to another host than the one that gave it.
	invariantHost = "I7"
	// invariantGrace: nothing is lost where there is a grace.
	invariantGrace = "F1"
	// invariantPlanned: nothing is lost by SIGTERM, by an outage, or with the lease.
	invariantPlanned = "F3"
	// invariantFalseLoss: "lost" is never said of a token that was not spent.
	invariantFalseLoss = "FL"
	// invariantCodeOnce: a code is sent once, under a claim of its own.
	invariantCodeOnce = "C1"
	// invariantCodeReceived: what a live process received for a code is not lost.
	invariantCodeReceived = "C2"
	// invariantCodeTold: of each code it is said what came of it, to the person too; where it came to nothing there is a link.
	invariantCodeTold = "C3"
	// invariantEarlier: a credential gives way only to a later one, and is good until then.
	invariantEarlier = "C4"
	// invariantReached: the run did what it had to, so that the rest means something.
	invariantReached = "run"
)

// violation is one invariant that did not hold, once.
type violation struct {
	Invariant string    `json:"invariant"`
	Account   string    `json:"account,omitempty"`
	Time      time.Time `json:"time,omitzero"`
	Evidence  string    `json:"evidence"`
}

// verdict is what is said in the end.
type verdict struct {
	Plans       int            `json:"plans"`
	Accounts    int            `json:"accounts"`
	Kills       int            `json:"kills"`
	States      map[string]int `json:"states"`
	GraceLost   int            `json:"graceLost"`
	StrictLost  int            `json:"strictLostOutsideReply"`
	Unsurfaced  int            `json:"unsurfaced"`
	DoubleSpend int            `json:"doubleSpends"`
	SIGTERMLost int            `json:"sigtermLost"`
	OutageLost  int            `json:"outageLost"`
	// SentTwice to EarlierLost are of codes.
	SentTwice   int `json:"codesSentTwice"`
	CodesLost   int `json:"codesLostOutsideReply"`
	EarlierLost int `json:"earlierLost"`
	// Lost are all losses, those that cannot be helped included, which Excused lists by why.
	Lost       int            `json:"lost"`
	Excused    map[string]int `json:"excused,omitempty"`
	Violations []violation    `json:"violations,omitempty"`

	plain, codes bool
}

func (v *verdict) violatedf(invariant, account string, at time.Time, format string, arguments ...any) {
	v.Violations = append(v.Violations, violation{Invariant: invariant, Account: account, Time: at, Evidence: fmt.Sprintf(format, arguments...)})
}

func (v *verdict) ok() bool { return len(v.Violations) == 0 }

// mostViolations is how many are printed.
const mostViolations = 40

// String is a line for each violation, one for what the kills met, and the verdict.
func (v *verdict) String() string {
	var text strings.Builder
	for _, each := range v.Violations[:min(len(v.Violations), mostViolations)] {
		fmt.Fprintf(&text, "violation: %s", each.Invariant)
		if each.Account != "" {
			fmt.Fprintf(&text, " account=%s at=%s", each.Account, clock(each.Time))
		}
		fmt.Fprintf(&text, ": %s\n", each.Evidence)
	}
	if more := len(v.Violations) - mostViolations; more > 0 {
		fmt.Fprintf(&text, "violation: and %d more\n", more)
	}
	if !v.plain {
		text.WriteString("kills by state:")
		for _, state := range v.states() {
			fmt.Fprintf(&text, " %s=%d", state, v.States[state])
		}
		fmt.Fprintf(&text, "\nlosses that cannot be had: reply=%d pod=%d asleep=%d\n", v.Excused[excuseReply], v.Excused[excusePod], v.Excused[excuseAsleep])
	}
	word := "ok"
	if !v.ok() {
		word = "failed"
	}
	if v.codes {
		fmt.Fprintf(&text, "verdict: %s accounts=%d plans=%d kills=%d sent_twice=%d lost_outside_reply=%d earlier_lost=%d unsurfaced=%d\n",
			word, v.Accounts, v.Plans, v.Kills, v.SentTwice, v.CodesLost, v.EarlierLost, v.Unsurfaced)
		return text.String()
	}
	fmt.Fprintf(&text, "verdict: %s accounts=%d lost=%d plans=%d kills=%d grace_lost=%d strict_lost_outside_reply=%d unsurfaced=%d double_spends=%d sigterm_lost=%d outage_lost=%d\n",
		word, v.Accounts, v.Lost, v.Plans, v.Kills, v.GraceLost, v.StrictLost, v.Unsurfaced, v.DoubleSpend, v.SIGTERMLost, v.OutageLost)
	return text.String()
}

// judge is the whole of it.
func judge(e evidence, wanted limits) *verdict {
	v := &verdict{States: map[string]int{}, Excused: map[string]int{}, plain: wanted.plain, codes: wanted.codes}
	histories, err := e.histories()
	if err != nil {
		v.violatedf(invariantReached, "", time.Time{}, "the evidence cannot be understood: %v", err)
		return v
	}
	if len(histories) == 0 || len(e.entries) == 0 || len(e.events) == 0 {
		v.violatedf(invariantReached, "", time.Time{}, "there is no evidence: %d accounts, %d ledger entries, %d audit events", len(histories), len(e.entries), len(e.events))
		return v
	}
	v.Accounts = len(histories)
	if wanted.codes && !slices.ContainsFunc(histories, func(of *history) bool { return len(of.codes) > 0 }) {
		v.violatedf(invariantReached, "", time.Time{}, "nobody has consented")
	}
	course := courseOf(e.faults)
	for _, of := range histories {
		if of.Imported == "" {
			judgeConsents(v, of, course)
			continue
		}
		if !wanted.plain {
			v.DoubleSpend += judgeSends(v, of)
			judgeOrder(v, of, course.starts)
			judgeWords(v, of)
		}
		judgeLoss(v, of, course)
	}
	if wanted.plain {
		return v
	}
	for _, passage := range e.passages {
		if passage.Kind == kindElsewhere {
			v.violatedf(invariantHost, passage.Account, passage.Received, "the refresh token %s went to another host", passage.Fingerprint)
		}
	}
	judgeKills(v, histories, course)
	v.Plans = plansPlayed(e.passages, e.faults)
	v.reached(wanted)
	return v
}

// reached wants the run to have been hard enough.
func (v *verdict) reached(wanted limits) {
	never := time.Time{}
	if v.Kills < wanted.kills {
		v.violatedf(invariantReached, "", never, "%d kills met an open claim, want %d", v.Kills, wanted.kills)
	}
	for _, state := range v.states() {
		if v.States[state] < wanted.bucket {
			v.violatedf(invariantReached, "", never, "%d kills met the state %s, want %d", v.States[state], state, wanted.bucket)
		}
	}
	if wanted.losses && v.Excused[excuseReply] == 0 {
		v.violatedf(invariantReached, "", never, "nothing was lost in the reply's way, where the strictest providers must lose something")
	}
}

// clock is how a time is written for people.
func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }
