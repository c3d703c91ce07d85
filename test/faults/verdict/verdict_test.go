package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

func journal(fault *records.Fault) { fault.Journal = []string{"uid-a.claim-1"} }

func replaced(fault *records.Fault) { fault.JournalGone = true }

// killed is a rotation whose process is killed some time after the claim, and what came of it.
func killed(kind string, after float64, change func(*records.Fault)) *story {
	s := tell(kind)
	s.claim(1, 1)
	s.send(1.1, "r0", "r1")
	s.kill(1+after, change)
	return s
}

// TestWhatIsSaid tells each kind of story once: those that must pass, and each violation.
func TestWhatIsSaid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tell func() evidence
		// want are the invariants that are violated, in order.
		want []string
		line string
	}{
		"nothing goes wrong": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(1, 1, "r0", "r1")
				s.rotate(6, 1, "r1", "r2")
				return s.end(5)
			},
			line: "lost=0 plans=0 kills=0",
		},
		"a kill, and the journal is replayed": {
			tell: func() evidence {
				s := killed("strict", 0.4, journal)
				s.keep(2, "r1")
				s.rotate(6, 1, "r1", "r2")
				return s.end(5)
			},
			line: "lost=0 plans=0 kills=1 grace_lost=0",
		},
		"a strict provider, killed in the reply's way": {
			tell: func() evidence {
				s := killed("strict", 0.33, nil)
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			line: "lost=1 plans=0 kills=1 grace_lost=0 strict_lost_outside_reply=0 unsurfaced=0",
		},
		"a strict provider, killed before the reply came": {
			tell: func() evidence {
				s := killed("strict", 0.28, nil)
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			line: "lost=1 plans=0 kills=1 grace_lost=0 strict_lost_outside_reply=0",
		},
		"a strict provider, killed when the reply had been here for long": {
			tell: func() evidence {
				s := killed("strict", 0.4, nil)
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			want: []string{"I2"}, line: "strict_lost_outside_reply=1 unsurfaced=0",
		},
		"a strict provider, and nothing was killed": {
			tell: func() evidence {
				s := tell("strict")
				s.claim(1, 1)
				s.send(1.1, "r0", "r1")
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			want: []string{"I2"}, line: "strict_lost_outside_reply=1",
		},
		"the pod goes with its journal between receipt and keep": {
			tell: func() evidence {
				s := killed("strict", 0.45, func(fault *records.Fault) { journal(fault); replaced(fault) })
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			line: "lost=1 plans=0 kills=1 grace_lost=0 strict_lost_outside_reply=0",
		},
		"the pod goes after the keep, and it is lost all the same": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(1, 1, "r0", "r1")
				s.kill(1.6, replaced)
				s.lost(3, "r1", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			want: []string{"FL", "I2"}, line: "strict_lost_outside_reply=1 unsurfaced=1",
		},
		"a holder asleep when its reply comes": {
			tell: func() evidence { return asleep("strict", 1.15) },
			line: "lost=1 plans=0 kills=0 grace_lost=0 strict_lost_outside_reply=0",
		},
		"a holder asleep with its result where a second use ends the grant": {
			tell: func() evidence { return asleep("revokes", 1.5) },
			line: "lost=1 plans=0 kills=0 grace_lost=0 strict_lost_outside_reply=0",
		},
		"a holder asleep with its result at a strict provider": {
			tell: func() evidence { return asleep("strict", 1.5) },
			want: []string{"I2"}, line: "strict_lost_outside_reply=1",
		},
		"a loss at a provider with a grace": {
			tell: func() evidence {
				s := killed("grace", 0.33, nil)
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			want: []string{"F1", "F1"}, line: "grace_lost=1",
		},
		"a loss by SIGTERM": {
			tell: func() evidence { return planned(records.LossBySIGTERM) },
			want: []string{"F3"}, line: "sigterm_lost=1 outage_lost=0",
		},
		"a loss by an outage": {
			tell: func() evidence { return planned(records.LossByOutage) },
			want: []string{"F3"}, line: "sigterm_lost=0 outage_lost=1",
		},
		"a loss that is called the provider's word": {
			tell: func() evidence {
				s := killed("strict", 0.33, nil)
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenRejected)
				return s.end(5)
			},
			want: []string{"I4"}, line: "unsurfaced=1",
		},
		"a loss that is not said": {
			tell: func() evidence {
				s := killed("strict", 0.33, nil)
				s.claim(3, 2)
				s.send(3.1, "r0", "")
				return s.end(5)
			},
			want: []string{"I4"}, line: "unsurfaced=1",
		},
		"an account that stands still with a good token": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(1, 1, "r0", "r1")
				return s.end(5)
			},
			want: []string{"I5", "I2"}, line: "unsurfaced=1",
		},
		"lost is said of a token that was not spent": {
			tell: func() evidence {
				s := tell("strict")
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				s.rotate(6, 3, "r0", "r1")
				return s.end(5)
			},
			want: []string{"FL"}, line: "lost=0 plans=0 kills=0 grace_lost=0 strict_lost_outside_reply=0 unsurfaced=1",
		},
		"lost is said of a token whose grant was revoked": {
			tell: func() evidence {
				s := tell("revokes")
				s.claim(1, 1)
				s.send(1.1, "r0", "r1").Delivered = time.Time{}
				s.entry(2, provider.Entry{Kind: provider.KindRevoked, Reason: "refresh_token_reused"})
				s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
				return s.end(5)
			},
			line: "lost=1 plans=0 kills=0 grace_lost=0 strict_lost_outside_reply=0 unsurfaced=0",
		},
		"two sends under one claim": {
			tell: func() evidence {
				s := tell("strict")
				s.claim(1, 1)
				s.send(1.1, "r0", "r1")
				s.send(1.3, "r0", "")
				s.keep(2, "r1")
				s.rotate(6, 1, "r1", "r2")
				return s.end(5)
			},
			want: []string{"I1"}, line: "double_spends=1",
		},
		"a second send that never came to the provider": {
			tell: func() evidence {
				s := tell("strict")
				s.claim(1, 1)
				s.send(1.1, "r0", "r1")
				s.passages = append(s.passages, proxy.Record{Proxy: "provider", Class: proxy.Class{Kind: kindToken, Account: "a", Fingerprint: "r0"}, Received: at(1.4), End: proxy.EndCut})
				s.keep(2, "r1")
				s.rotate(6, 1, "r1", "r2")
				return s.end(5)
			},
			want: []string{"I1"}, line: "double_spends=1",
		},
		"a send without a claim": {
			tell: func() evidence {
				s := tell("strict")
				s.send(1.1, "r0", "r1")
				s.keep(2, "r1")
				s.rotate(6, 1, "r1", "r2")
				return s.end(5)
			},
			want: []string{"I1"}, line: "double_spends=1",
		},
		"a second try that is not counted up": {
			tell: func() evidence {
				s := tell("grace")
				s.claim(1, 1)
				s.send(1.1, "r0", "r1")
				s.rotate(3, 1, "r0", "r1b")
				s.rotate(6, 1, "r1b", "r2")
				return s.end(5)
			},
			want: []string{"I1"}, line: "double_spends=1",
		},
		"a reusable token needs no claim": {
			tell: func() evidence {
				s := tell("reusable")
				s.send(1.1, "r0", "r0")
				s.keep(2, "r0 again")
				s.send(6.1, "r0", "r0")
				s.keep(7, "r0 once more")
				return s.end(5)
			},
			line: "lost=0",
		},
		"the status goes back": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(4, 1, "r0", "r1")
				s.write(5, func(status *v1alpha1.ConnectedAccountStatus) { status.Rotations-- })
				s.rotate(7, 1, "r1", "r2")
				return s.end(6)
			},
			want: []string{"I3"}, line: "lost=0",
		},
		"an earlier credential comes back": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(4, 1, "r0", "r1")
				s.write(5, func(status *v1alpha1.ConnectedAccountStatus) { status.SealedCredential = "sealed r0" })
				s.rotate(7, 1, "r1", "r2")
				return s.end(6)
			},
			want: []string{"I3"},
		},
		"the number of claims goes back": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(4, 1, "r0", "r1")
				s.write(5, func(status *v1alpha1.ConnectedAccountStatus) { status.ClaimSequence = 0 })
				s.rotate(7, 1, "r1", "r2")
				return s.end(6)
			},
			want: []string{"I3"},
		},
		"a replay overwrites something newer": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(4, 1, "r0", "r1")
				s.kill(5, nil)
				s.write(5.6, func(status *v1alpha1.ConnectedAccountStatus) {
					status.Rotations--
					status.SealedCredential = "sealed r0"
				})
				s.rotate(9, 1, "r1", "r2")
				return s.end(8)
			},
			want: []string{"I6"},
		},
		"a refresh token goes to another host": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(6, 1, "r0", "r1")
				s.passages = append(s.passages, proxy.Record{Class: proxy.Class{Kind: kindElsewhere, Account: "a", Fingerprint: "r1"}, Received: at(7)})
				return s.end(5)
			},
			want: []string{"I7"},
		},
		"an account without a calm": {
			tell: func() evidence {
				s := tell("strict")
				s.rotate(1, 1, "r0", "r1")
				s.end(5)
				s.faults = slices.DeleteFunc(s.faults, func(f records.Fault) bool { return f.Kind == records.Calm })
				return s.evidence
			},
			want: []string{"run"},
		},
		"no evidence": {
			tell: func() evidence { return evidence{} },
			want: []string{"run"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := judge(test.tell(), limits{})
			var invariants []string
			for _, each := range got.Violations {
				invariants = append(invariants, each.Invariant)
			}
			if diff := cmp.Diff(test.want, invariants); diff != "" || !strings.Contains(got.String(), test.line) {
				t.Errorf("the invariants that are violated (-want +got):\n%s\nit says\n%s\nwant %q in it", diff, got, test.line)
			}
		})
	}
}

// asleep is a process that falls asleep with its rotation open, and finds that another has taken over. Its reply comes at 1.3.
func asleep(kind string, from float64) evidence {
	s := tell(kind)
	s.claim(1, 1)
	s.fault(from, records.Fault{Kind: records.ProcessStopped, Replica: "one", Process: "operator"})
	s.send(1.1, "r0", "r1")
	s.lost(30, "r0", v1alpha1.ReasonRefreshTokenLost)
	s.fault(40, records.Fault{Kind: records.ProcessContinued, Replica: "one", Process: "operator"})
	return s.end(45)
}

// planned is a loss in a phase in which nothing may be lost.
func planned(loss records.Loss) evidence {
	s := tell("strict")
	s.fault(0.5, records.Fault{Kind: records.PhaseBegins, Phase: "planned", Loss: loss})
	s.claim(1, 1)
	s.send(1.1, "r0", "r1").Delivered = time.Time{}
	s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
	return s.end(5)
}

// TestWhatAKillMeets kills at each moment of a rotation.
func TestWhatAKillMeets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after  float64
		change func(*records.Fault)
		want   string
	}{
		"before the claim":                      {after: -0.1},
		"while the claim is being written":      {after: 0.005},
		"after the claim":                       {after: 0.05, want: stateClaimed},
		"after the send":                        {after: 0.15, want: stateSent},
		"after the commit":                      {after: 0.25, want: stateCommitted},
		"after the last byte":                   {after: 0.32, want: stateReplied},
		"after the journal":                     {after: 0.32, change: journal, want: stateJournalled},
		"the journal of another account":        {after: 0.32, change: func(f *records.Fault) { f.Journal = []string{"uid-b.claim-1"} }, want: stateReplied},
		"after the keep, before its answer":     {after: 0.6, change: journal, want: stateKept},
		"after the keep's answer":               {after: 0.9},
		"another replica":                       {after: 0.15, change: func(f *records.Fault) { f.Replica = "two" }},
		"another replica when the keep is done": {after: 0.6, change: func(f *records.Fault) { f.Replica = "two" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tell("strict")
			s.rotate(1, 1, "r0", "r1")
			s.rotate(7, 1, "r1", "r2")
			s.kill(1+test.after, test.change)
			want := map[string]int{}
			if test.want != "" {
				want[test.want] = 1
			}
			got := judge(s.end(5), limits{})
			if diff := cmp.Diff(want, got.States); diff != "" || !got.ok() {
				t.Errorf("the states (-want +got):\n%s\n%s", diff, got)
			}
		})
	}
}

func TestARunMustHaveBeenHardEnough(t *testing.T) {
	t.Parallel()
	s := killed("strict", 0.4, journal)
	s.keep(2, "r1")
	s.rotate(6, 1, "r1", "r2")
	got := judge(s.end(5), limits{kills: 2, bucket: 1, losses: true})
	var said []string
	for _, each := range got.Violations {
		said = append(said, each.Evidence)
	}
	want := []string{
		"1 kills met an open claim, want 2",
		"0 kills met the state claimed, want 1", "0 kills met the state sent, want 1", "0 kills met the state committed, want 1",
		"0 kills met the state replied, want 1", "0 kills met the state kept, want 1",
		"nothing was lost in the reply's way, where the strictest providers must lose something",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("it says (-want +got):\n%s", diff)
	}
}

func TestPlansCountWhenTheirFaultMetThem(t *testing.T) {
	t.Parallel()
	record := func(plan, end string) proxy.Record {
		return proxy.Record{Plan: plan, End: end, Received: at(1), Delivered: at(2)}
	}
	passages := []proxy.Record{
		record("met", proxy.EndDelivered), record("met", proxy.EndDelivered), record("cut", proxy.EndCut),
		{Plan: "missed", End: proxy.EndDelivered, Received: at(2), Delivered: at(3)},
		record("", proxy.EndCut),
	}
	faults := []records.Fault{{Kind: records.ProcessKilled, Time: at(1.5)}, {Kind: records.Calm, Time: at(2.5)}}
	if got := plansPlayed(passages, faults); got != 2 {
		t.Errorf("%d plans, want 2", got)
	}
}

func TestAPlainBuildIsOnlyCounted(t *testing.T) {
	t.Parallel()
	s := tell("strict")
	s.send(1.1, "r0", "r1")
	s.kill(1.5, nil)
	s.send(3.1, "r0", "")
	got := judge(s.end(5), limits{plain: true, kills: 1})
	if !got.ok() || got.Lost != 1 {
		t.Errorf("the verdict is %s, want one loss and no more", got)
	}
}
