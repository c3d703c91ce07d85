package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// newAccount is how long the operator may take to look at an account before that is strange.
const newAccount = 30 * time.Second

// examine says what is wrong with an account.
func examine(f *accountFacts, now time.Time) section {
	view := viewOf(f.account, now)
	result := section{About: "account " + view.Namespace + "/" + view.Name, State: "Ready=" + view.readyCell().text + " " + view.Reason}
	if unseen := notLooked(f, now); unseen != nil {
		result.Findings = append(result.Findings, *unseen)
		if !view.known {
			return result
		}
	}
	for _, kind := range []string{v1alpha1.ConditionClientReady, v1alpha1.ConditionAuthorized, v1alpha1.ConditionRefreshed, v1alpha1.ConditionPublished} {
		condition := failing(f.account, kind)
		if condition == nil {
			continue
		}
		result.Findings = append(result.Findings, judge(f, condition, view.Ready)...)
	}
	result.Findings = append(withoutEcho(result.Findings), ending(f.account)...)
	// What waits for something else is no finding of its own.
	if slices.ContainsFunc(result.Findings, func(found finding) bool { return found.What != v1alpha1.ReasonPending }) {
		result.Findings = slices.DeleteFunc(result.Findings, func(found finding) bool { return found.What == v1alpha1.ReasonPending })
	}
	if len(result.Findings) == 0 && !view.Ready {
		expired := metav1.Condition{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonTokenExpired, Message: cmp.Or(view.Message, "the token has expired")}
		result.Findings = append(result.Findings, judge(f, &expired, false)...)
	}
	if asked, is := printedIn(f.account, authorization(f.account)); is && asked.key == v1alpha1.AnnotationReplaceGrant {
		result.Findings = append(result.Findings, finding{Level: levelNote, What: "import", Message: "a refresh token waits to be imported, until the present grant ends or is given up", Commands: []string{own("adopt", f.account)}})
	}
	if len(result.Findings) == 0 {
		return section{About: result.About, State: result.State, Findings: []finding{{Level: levelOK, What: view.Reason, Message: view.token(now)}}}
	}
	for _, event := range f.events {
		if !slices.ContainsFunc(result.Findings, func(found finding) bool { return strings.HasPrefix(event, found.What+": ") }) {
			result.Findings = append(result.Findings, finding{Level: levelNote, What: "event", Message: event})
		}
	}
	return result
}

// withoutEcho: that the provider has refused the refresh token is also why the last request failed, and nothing in the client is to
// be corrected for it.
func withoutEcho(findings []finding) []finding {
	of := func(reasons ...string) func(finding) bool {
		return func(one finding) bool { return slices.Contains(reasons, one.What) }
	}
	if !slices.ContainsFunc(findings, of(v1alpha1.ReasonRefreshTokenRejected, v1alpha1.ReasonRefreshTokenLost)) {
		return findings
	}
	return slices.DeleteFunc(findings, of(v1alpha1.ReasonRequestRejected))
}

// ending finds a consent that brought no refresh token, and so ends with its access token, while nobody complains yet.
func ending(account *v1alpha1.ConnectedAccount) []finding {
	authorized := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionAuthorized)
	if authorized == nil || authorized.Status != metav1.ConditionTrue || !endsWithItsToken(account) {
		return nil
	}
	return []finding{{Level: levelWarning, What: "no refresh token", Message: authorized.Message, Actor: actorClient}}
}

func endsWithItsToken(account *v1alpha1.ConnectedAccount) bool {
	due := account.Status.ConsentDueTime
	return due != nil && due.Equal(account.Status.ExpirationTime)
}

// notLooked finds an account, or a change of it, that the operator has not looked at.
func notLooked(f *accountFacts, now time.Time) *finding {
	watched, known := f.installed.watches()
	switch {
	case known && !slices.Contains(watched, f.account.Namespace):
		return &finding{
			Level: levelFault, What: "watched namespaces", Actor: actorPlatform,
			Message: "the operator works on the namespaces " + some(watched) + ", and not on this one: add it to watchNamespaces of the chart, which gives it the rights that it needs there",
		}
	case looked(f.account):
		return nil
	case now.Sub(f.account.CreationTimestamp.Time) < newAccount && !viewOf(f.account, now).known:
		return &finding{Level: levelNote, What: reasonUnseen, Message: "the account was created a moment ago"}
	}
	return &finding{
		Level: levelFault, What: reasonUnseen, Message: "the operator has not looked at the account as it is now: is it running, and does it watch this namespace?",
		Actor: actorPlatform, Commands: []string{line("kubectl", "-n", operatorNamespace, "get", "deployments,pods,leases")},
	}
}

// judge says what a condition that is False means, and what to do. Of a client that is not ready, its own conditions say more.
func judge(f *accountFacts, condition *metav1.Condition, ready bool) []finding {
	if condition.Reason == v1alpha1.ReasonClientNotReady && f.owner != nil {
		if found := judgeClient(f, ready); len(found) > 0 {
			return found
		}
	}
	return []finding{advised(f, condition, levelOf(condition, ready))}
}

func judgeClient(f *accountFacts, ready bool) []finding {
	var all []finding
	for _, kind := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs} {
		condition := meta.FindStatusCondition(f.owner.Status.Conditions, kind)
		if condition == nil || condition.Status != metav1.ConditionFalse {
			continue
		}
		found := advised(f, condition, levelOf(condition, ready))
		found.Message = "the OAuthClient " + f.owner.Namespace + "/" + f.owner.Name + ": " + found.Message
		all = append(all, found)
	}
	return all
}

// levelOf: what leaves a good token in the Secret is a warning, and less than that what ends by itself.
func levelOf(condition *metav1.Condition, ready bool) level {
	switch {
	case condition.Reason == v1alpha1.ReasonPending, condition.Reason == v1alpha1.ReasonAuthorizationPending:
		return levelNote
	case ready && (actorOf(condition) == actorNobody || condition.Reason == v1alpha1.ReasonSuspended):
		return levelNote
	case ready:
		return levelWarning
	default:
		return levelFault
	}
}

// advised is the finding of a condition.
func advised(f *accountFacts, condition *metav1.Condition, at level) finding {
	found := finding{Level: at, What: condition.Reason, Message: condition.Message, Actor: actorOf(condition)}
	asked, printed := printedIn(f.account, condition)
	if printed = printed && f.names(asked); printed {
		// The line itself comes below the message, where it can be copied.
		before, _, _ := strings.Cut(condition.Message, ": kubectl ")
		found.Message = before + ":"
	}
	found.Commands = commands(f, condition.Reason)
	switch {
	case len(found.Commands) > 0:
	case printed && asked.kind == "secret":
		found.Commands = []string{asked.command()}
	case printed:
		found.Commands = []string{own("adopt", f.account)}
	}
	if more := details(f, condition.Reason); more != "" {
		found.Message = strings.TrimSuffix(found.Message, ":") + ". " + more
	}
	return found
}

// names: a command about a Secret is about one that the account or its client names.
func (f *accountFacts) names(asked printed) bool {
	return asked.kind != "secret" || slices.ContainsFunc(f.sources, func(s source) bool { return s.namespace == asked.namespace && s.Name == asked.name })
}

// details is what was seen beside what the condition says.
func details(f *accountFacts, reason string) string {
	switch reason {
	case v1alpha1.ReasonClientNotAvailable:
		if len(f.elsewhere) > 0 {
			return fmt.Sprintf("There is one of that name in %s", listed(f.elsewhere))
		}
		if errors.As(f.ownerErr, new(*missingRightError)) {
			return "Whether there is one could not be looked at: you may not get it there"
		}
	case v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonSecretKeyMissing, v1alpha1.ReasonSecretNotConsented:
		if s := culprit(f, reason); s != nil {
			return s.seen()
		}
	case v1alpha1.ReasonKeyringMissing:
		if f.keyringThere() {
			return "There is a Secret " + keyringName + ", with other keys in it: keep a copy of it before the one of the backup takes its place, since credentials may have been sealed under it, too"
		}
	case v1alpha1.ReasonAuthorizationRequired, v1alpha1.ReasonAuthorizationDenied:
		if f.owner != nil && f.owner.Status.RedirectURI != "" && f.account.Status.AuthorizationURL != "" {
			return "If the provider shows an error instead of asking, it must know this redirect URI, exactly: " + f.owner.Status.RedirectURI
		}
	}
	return ""
}

// keyringThere: there is a keyring, as far as can be seen.
func (f *accountFacts) keyringThere() bool { return f.installed != nil && f.installed.keyring.there() }

// seen says what was seen of a Secret.
func (s source) seen() string {
	switch {
	case s.forbidden():
		return "More could be said by somebody who may get the Secret " + s.Name + " in the namespace " + s.namespace
	case s.missing && len(s.elsewhere) > 0:
		return fmt.Sprintf("There is one of that name in the namespace %s, where the operator does not look: a Secret lies beside whoever names it", listed(s.elsewhere))
	case s.missing || s.unread != nil:
		return ""
	case s.empty && slices.Contains(s.keys, s.Key):
		return "The key is there, and nothing is in it"
	case s.empty && s.alike() != "":
		return "Is the key " + s.alike() + " meant?"
	case s.empty:
		return "The Secret has the keys " + cmp.Or(some(s.keys), "none")
	default:
		return ""
	}
}

// culprit is the Secret that a reason speaks of.
func culprit(f *accountFacts, reason string) *source {
	guilty := func(s *source) bool {
		switch reason {
		case v1alpha1.ReasonSecretNotFound:
			return s.missing
		case v1alpha1.ReasonSecretKeyMissing:
			return !s.missing && s.unread == nil && (s.empty || s.newline)
		default:
			return !s.missing && s.unread == nil && (!s.labelled || s.withholds(f.endpoint()))
		}
	}
	for i := range f.sources {
		if s := &f.sources[i]; guilty(s) {
			return s
		}
	}
	for i := range f.sources { // what cannot be looked at may be the one
		if f.sources[i].unread != nil {
			return &f.sources[i]
		}
	}
	return nil
}
