package stories_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// tale is a world in which a refresh is due, with one replica.
func tale(t *testing.T, of string) (*world, *replica) {
	t.Helper()
	w := newWorld(t, kindNamed(of))
	r := w.newPod("R1")
	w.ready(r)
	return w, r
}

// requests wants this many token requests since the count was taken.
func (w *world) requests(since, want int) {
	w.t.Helper()
	if got := w.provider.TokenRequests() - since; got != want {
		w.t.Errorf("%d token requests, want %d", got, want)
	}
}

func TestARotationIsThreeWritesAndOneRequest(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "strict")
	w.untilQuiet(r)
	w.golden("rotation")
	w.finale(r)
}

func TestAnImportedTokenIsSpentLikeAnyOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, kindNamed("strict"))
	r := w.newPod("R1")
	w.untilQuiet(r)
	w.golden("import")
	w.finale(r)
}

func TestALostAnswerIsAskedForAgainWithinTheGrace(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "grace-only-last")
	count := w.provider.TokenRequests()
	w.loseAnswer()
	w.untilQuiet(r)
	w.requests(count, 2)
	w.golden("answer-lost-with-grace")
	w.finale(r)
}

func TestALostAnswerWithoutGraceIsALossThatIsTold(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "revoke-family")
	count, served := w.provider.TokenRequests(), w.published()
	w.loseAnswer()
	w.decide = func(_ *replica, p point) verdict {
		left := w.open(w.read()).ExpirationTime.Sub(w.clock.Now())
		if p.phase == before && p.effect.verb == "claims" && w.provider.TokenRequests() > count && left > 2*time.Minute+time.Second {
			w.t.Errorf("tried again while the access token was still good for %s", left)
		}
		return verdict{}
	}
	w.untilQuiet(r)
	w.decide = nil
	w.requests(count, 2)
	if now := w.published(); now != served {
		t.Error("the Secret does not hold the access token that was there before")
	}
	w.golden("answer-lost-without-grace")
	w.finale(r)
}

func (w *world) published() string {
	w.t.Helper()
	secret := &corev1.Secret{}
	w.must(suite.admin.Get(w.ctx(), w.account, secret))
	return string(secret.Data["access_token"])
}

func TestAKillBetweenAnswerAndKeepIsMadeGoodFromTheJournal(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "revoke-family")
	count := w.provider.TokenRequests()
	w.killAt("R1", standing(before, "keeps"))
	w.untilQuiet(r)
	r = r.again()
	w.untilQuiet(r)
	w.requests(count, 1)
	w.golden("killed-before-keep-same-pod")
	w.finale(r)
}

func TestAKillBetweenAnswerAndKeepWithoutTheJournalIsALoss(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "revoke-family")
	w.killAt("R1", standing(before, "keeps"))
	w.untilQuiet(r)
	r = r.replaced("R2")
	w.untilQuiet(r)
	w.golden("killed-before-keep-other-pod")
	w.finale(r)
}

func TestASecondReplicaTakesOverAndTheFirstWakesTooLate(t *testing.T) {
	t.Parallel()
	w, first := tale(t, "strict")
	count := w.provider.TokenRequests()
	w.patient(first, standing(after, "claims"))
	w.sayf("R1 falls asleep")
	second := w.newPod("R2")
	w.untilQuiet(second)
	w.sayf("R1 wakes up")
	first.finish()
	w.untilQuiet(first, second)
	w.requests(count, 1)
	w.golden("takeover")
	w.finale(first)
}

func TestATakeoverThatWakesTooLateIsStillCounted(t *testing.T) {
	t.Parallel()
	w, first := tale(t, "strict")
	w.killAt("R1", func(p point) bool { return p.phase == committed })
	w.untilQuiet(first)
	second := first.replaced("R2")
	w.patient(second, standing(after, "claims"))
	w.sayf("R2 sleeps past its own limit")
	w.clock.move(2 * time.Minute)
	second.finish()
	w.untilQuiet(second)
	w.golden("takeover-too-late")
	w.finale(second)
}

func TestANewConsentThatFallsWithTheOldOneIsOurLoss(t *testing.T) {
	t.Parallel()
	w, first := tale(t, "revoke-user")
	w.sameUser = true
	w.loseAnswer()
	w.patient(first, func(p point) bool { return p.phase == sent && first.flight.attempt == 2 })
	w.consentsAnew(true)
	second := w.newPod("R2")
	w.untilQuiet(second)
	first.finish()
	w.excuse(second, "a request of before the new consent ended it")
	w.untilDue()
	w.untilQuiet(first, second)
	if told := unauthorized(w.read()); told != v1alpha1.ReasonRefreshTokenLost {
		t.Errorf("the account says %q", told)
	}
	w.golden("new-consent-falls")
	w.finale(first, second)
}

func TestAStaleCopyMeetsAConflictAndNothingIsSent(t *testing.T) {
	t.Parallel()
	w, second := tale(t, "strict")
	first := w.newPod("R2")
	second.stale = w.read()
	w.patient(first, standing(before, "publishes")) // so that nothing but the account tells of what was kept
	count := w.provider.TokenRequests()
	w.sayf("R1 works from a stale copy")
	second.lap()
	w.requests(count, 0)
	first.finish()
	w.sayf("R1 sees what is there")
	second.stale = nil
	w.untilQuiet(second)
	w.golden("stale-copy")
	w.finale(second)
}

func TestWhatTheAPIServerRefusesIsHeldAndKeptLater(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "revoke-family")
	count, refusals := w.provider.TokenRequests(), []error{conflict(), broken(), denied()}
	ended, cancel := context.WithCancel(w.ctx())
	cancel()
	w.decide = func(r *replica, p point) (v verdict) {
		if p.phase != before || p.effect.verb != "keeps" || len(refusals) == 0 {
			return verdict{}
		}
		if len(refusals) == 1 && r.accounts.InFlight.Drain(ended) != 1 {
			w.t.Error("a process that is told to end does not wait for the keep")
		}
		v.refuse, refusals = refusals[0], refusals[1:]
		return v
	}
	r.lap()
	w.requests(count, 1)
	if left := r.accounts.InFlight.Drain(ended); left != 0 || len(r.journalled()) > 0 {
		t.Errorf("%d are open, the journal holds %v", left, r.journalled())
	}
	w.golden("keep-refused")
	r = w.newPod("R2")
	w.untilQuiet(r)
	w.finale(r)
}

func TestANewerConsentOutlivesARefusalOfTheOldOne(t *testing.T) {
	t.Parallel()
	w, first := tale(t, "revoke-family")
	w.network.treat(provider.RefuseWith(http.StatusBadRequest, "invalid_grant"))
	w.patient(first, func(p point) bool { return p.phase == sent })
	w.consentsAnew(true)
	second := w.newPod("R2")
	w.untilQuiet(second)
	first.finish()
	w.untilQuiet(first, second)
	if told := unauthorized(w.read()); told != "" {
		t.Errorf("the account says %s", told)
	}
	w.golden("newer-consent")
	w.finale(first, second)
}

func TestAnEndpointThatIsEditedWhileClaimedGetsNotAByte(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "revoke-family")
	other, connections := listenAndCount(t)
	proper := w.provider.TokenEndpoint(provider.Smartbills)
	w.patient(r, standing(after, "claims"))
	w.sayf("the client names another host")
	w.editEndpoint("http://" + other + "/connect/token")
	r.finish()
	w.untilQuiet(r)
	if told := unauthorized(w.read()); told != v1alpha1.ReasonEndpointChanged {
		t.Errorf("the account says %q", told)
	}
	w.clock.move(24 * time.Hour)
	w.untilQuiet(r)
	w.sayf("the client names the first host again")
	w.editEndpoint(proper)
	w.untilQuiet(r)
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections to the other host", n)
	}
	w.golden("endpoint-edited")
	w.finale(r)
}

func TestAnEndpointThatIsEditedWhileInDoubtGetsNotAByte(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "strict")
	other, connections := listenAndCount(t)
	proper := w.provider.TokenEndpoint(provider.Smartbills)
	w.killAt("R1", standing(after, "claims"))
	w.untilQuiet(r)
	w.sayf("the client names another host")
	w.editEndpoint("http://" + other + "/connect/token")
	r = r.again()
	w.untilQuiet(r)
	if told := unauthorized(w.read()); told != v1alpha1.ReasonEndpointChanged {
		t.Errorf("the account says %q", told)
	}
	w.sayf("the client names the first host again")
	w.editEndpoint(proper)
	w.untilQuiet(r)
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections to the other host", n)
	}
	w.golden("endpoint-edited-in-doubt")
	w.finale(r)
}

// listenAndCount counts connections, which nobody should make.
func listenAndCount(t *testing.T) (string, *atomic.Int32) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	connections := &atomic.Int32{}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_ = connection.Close()
		}
	}()
	return listener.Addr().String(), connections
}

func TestAnAccountThatIsCreatedAgainGetsNothingOfTheOldOne(t *testing.T) {
	t.Parallel()
	w, r := tale(t, "revoke-family")
	count := w.provider.TokenRequests()
	w.patient(r, func(p point) bool { return p.phase == committed })
	w.sayf("the account is deleted and created again")
	change(w, w.account.Name, &v1alpha1.ConnectedAccount{}, func(account *v1alpha1.ConnectedAccount) {
		account.Annotations = mergedMap(account.Annotations, v1alpha1.AnnotationAllowDelete, account.Name)
	})
	w.must(suite.admin.Delete(w.ctx(), w.read()))
	// What the garbage collector does.
	w.must(suite.admin.Delete(w.ctx(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: w.account.Name}}))
	w.create(w.newAccount())
	r.finish()
	w.untilQuiet(r)
	w.requests(count, 1)
	account := w.read()
	if told := unauthorized(account); told != v1alpha1.ReasonAlreadyImported || account.Status.SealedCredential != "" {
		t.Errorf("the account says %q, and holds %d bytes", told, len(account.Status.SealedCredential))
	}
	if left := r.journalled(); len(left) > 0 {
		t.Errorf("the journal still holds %v", fmt.Sprint(left))
	}
	w.golden("created-again")
	w.finale(r)
}
