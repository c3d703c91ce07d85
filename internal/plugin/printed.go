package plugin

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// printed is a command that a condition's message prints for whoever reads it: it sets one label or annotation of ours.
type printed struct {
	verb, kind, namespace, name, key, value string
}

// command is the line as it is typed: put together anew, so that nothing of a message gets to a shell that is not what it
// should be.
func (p printed) command() string {
	words := []string{"kubectl", p.verb}
	if p.verb == "annotate" {
		words = append(words, "--overwrite")
	}
	return line(append(words, p.kind, "-n", p.namespace, p.name, p.key+"="+p.value)...)
}

// about reports whether the command is of that kind, about that object, and sets that label or annotation.
func (p printed) about(verb, kind, namespace, name, key string) bool {
	return p.verb == verb && p.kind == kind && p.namespace == namespace && p.name == name && p.key == key
}

// printedIn looks for the command in a condition that its reason asks for. A message may quote what others have written, so that
// no more of it counts than what else is known of the account: another object, another annotation, or another reason is none.
func printedIn(account *v1alpha1.ConnectedAccount, condition *metav1.Condition) (printed, bool) {
	if condition == nil {
		return printed{}, false
	}
	shape := regexp.MustCompile(`kubectl (label|annotate)(?: --overwrite)? (secret|connectedaccount|oauthclient) -n ([a-z0-9][a-z0-9-]*) ([a-z0-9][a-z0-9.-]*) (oauth-operator\.dev/[a-z-]+)=('(?:[^']|'\\'')*'|[^\s']+)`)
	found := shape.FindStringSubmatch(condition.Message)
	if len(found) < 7 {
		return printed{}, false
	}
	value := found[6]
	if strings.HasPrefix(value, "'") {
		value = strings.ReplaceAll(value[1:len(value)-1], `'\''`, "'")
	}
	command := printed{verb: found[1], kind: found[2], namespace: found[3], name: found[4], key: found[5], value: value}
	return command, belongs(command, account, condition)
}

// belongs: it is what a condition asks for that is False, or True, for this reason.
func belongs(command printed, account *v1alpha1.ConnectedAccount, condition *metav1.Condition) bool {
	self := func(key string) bool {
		return command.about("annotate", "connectedaccount", account.Namespace, account.Name, key)
	}
	switch condition.Reason {
	case v1alpha1.ReasonSecretNotConsented:
		near := command.namespace == account.Namespace || command.namespace == clientNamespace(account)
		return near && command.verb == "label" && command.kind == "secret" && command.key == v1alpha1.LabelCredential && command.value == "true"
	case v1alpha1.ReasonCredentialFromElsewhere:
		return self(v1alpha1.AnnotationAdopt) && command.value == account.Status.BoundTo.AccountUID
	case v1alpha1.ReasonApprovalRequired:
		return self(v1alpha1.AnnotationApprove) && approves(command.value, account.Status.Identity)
	case v1alpha1.ReasonEndpointChanged:
		return command.about("annotate", "oauthclient", clientNamespace(account), account.Spec.ClientRef.Name, v1alpha1.AnnotationAcceptOrigin)
	case v1alpha1.ReasonAuthorized:
		_, err := strconv.ParseUint(command.value, 10, 63)
		return condition.Status == metav1.ConditionTrue && self(v1alpha1.AnnotationReplaceGrant) && err == nil
	}
	return false
}

// approves: the value approves of that identity, and of no other. Where the provider names nobody, it is a number; and where a
// name could be taken for one, it is set apart.
func approves(value, identity string) bool {
	const number, name = "consent/", "name/"
	switch {
	case identity == "":
		return regexp.MustCompile(`^` + number + `\d+$`).MatchString(value)
	case strings.HasPrefix(identity, number), strings.HasPrefix(identity, name):
		return value == name+identity
	default:
		return value == identity
	}
}

// originOf is scheme://host:port of an endpoint; "": it is none.
func originOf(endpoint v1alpha1.Endpoint) string {
	parsed, err := url.Parse(string(endpoint))
	if err != nil || parsed.Hostname() == "" {
		return ""
	}
	scheme, port := strings.ToLower(parsed.Scheme), parsed.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[scheme]
	}
	host := strings.ToLower(parsed.Hostname())
	if address, err := netip.ParseAddr(host); err == nil {
		host = address.String()
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// receives reports whether an annotation lets the host of an endpoint receive what is in a Secret: whole, and with the port of
// https unless it names another one.
func receives(hosts []string, endpoint v1alpha1.Endpoint) bool {
	_, want, _ := strings.Cut(originOf(endpoint), "://")
	return slices.ContainsFunc(hosts, func(host string) bool {
		return "https://"+want == originOf(v1alpha1.Endpoint("https://"+host))
	})
}

// listedIn are the entries of a list, as an annotation or a flag has it.
func listedIn(text string) []string {
	return strings.FieldsFunc(text, func(each rune) bool { return each == ',' || each == ' ' })
}
