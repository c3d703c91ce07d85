package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// leastMinor is the first minor version of Kubernetes 1 that has the admission policies of the installation.
	leastMinor = 30
	// leaseTolerance is how far the clocks of this machine and of the operator may be apart, beyond what a lease lasts.
	leaseTolerance = time.Minute
	// clockTolerance is from when on that is said.
	clockTolerance = 30 * time.Second
)

// policies are the admission policies of the installation. Each has a binding of its name.
func policies() []string {
	return []string{
		"definitions." + v1alpha1.Group, "deletion." + v1alpha1.Group, "finalizers." + v1alpha1.Group, "import-references." + v1alpha1.Group, "placement." + v1alpha1.Group,
		"references." + v1alpha1.Group, "requests." + v1alpha1.Group, "secrets." + v1alpha1.Group, "status." + v1alpha1.Group,
	}
}

// seen is an object that was looked for.
type seen[T client.Object] struct {
	object T
	err    error
}

func (s seen[T]) there() bool   { return s.err == nil }
func (s seen[T]) missing() bool { return apierrors.IsNotFound(s.err) }

// installationFacts are what is known of the installation.
type installationFacts struct {
	// major, minor and version are the API server's.
	minor         int
	version       string
	definitions   map[string]seen[*apiextensionsv1.CustomResourceDefinition]
	policies      map[string]seen[*admissionv1.ValidatingAdmissionPolicy]
	bindings      map[string]seen[*admissionv1.ValidatingAdmissionPolicyBinding]
	operator      seen[*appsv1.Deployment]
	lease         seen[*coordinationv1.Lease]
	keyring       seen[*metav1.PartialObjectMetadata]
	settings      seen[*corev1.ConfigMap]
	consent       seen[*appsv1.Deployment]
	consentKeys   seen[*metav1.PartialObjectMetadata]
	consentFinder seen[*corev1.Service]
}

func look[T client.Object](ctx context.Context, c *cluster, namespace, name string, into T) seen[T] {
	return seen[T]{into, c.get(ctx, keyOf(namespace, name), into)}
}

func secretMetadata() *metav1.PartialObjectMetadata {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return metadata
}

// lookAround reads what there is to know of the installation, as far as the user may.
func (c *cluster) lookAround(ctx context.Context) *installationFacts {
	f := &installationFacts{
		definitions: map[string]seen[*apiextensionsv1.CustomResourceDefinition]{},
		policies:    map[string]seen[*admissionv1.ValidatingAdmissionPolicy]{}, bindings: map[string]seen[*admissionv1.ValidatingAdmissionPolicyBinding]{},
		operator: look(ctx, c, operatorNamespace, operatorName, &appsv1.Deployment{}),
		lease:    look(ctx, c, operatorNamespace, operatorName, &coordinationv1.Lease{}),
		keyring:  look(ctx, c, operatorNamespace, keyringName, secretMetadata()),
		settings: look(ctx, c, operatorNamespace, consentName, &corev1.ConfigMap{}),
		consent:  look(ctx, c, operatorNamespace, consentName, &appsv1.Deployment{}), consentKeys: look(ctx, c, operatorNamespace, consentName, secretMetadata()),
		consentFinder: look(ctx, c, operatorNamespace, consentName, &corev1.Service{}),
	}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	if version, err := within(bounded, c.discovery.ServerVersion); err == nil {
		f.version = clean(version.GitVersion)
		f.minor, _ = strconv.Atoi(strings.TrimRight(version.Minor, "+"))
	}
	for _, plural := range []string{"connectedaccounts", "oauthclients"} {
		name := plural + "." + v1alpha1.Group
		f.definitions[name] = look(ctx, c, "", name, &apiextensionsv1.CustomResourceDefinition{})
	}
	for _, name := range policies() {
		f.policies[name] = look(ctx, c, "", name, &admissionv1.ValidatingAdmissionPolicy{})
		f.bindings[name] = look(ctx, c, "", name, &admissionv1.ValidatingAdmissionPolicyBinding{})
	}
	return f
}

// watches are the namespaces that the operator works on; false: all, or nobody knows.
func (f *installationFacts) watches() ([]string, bool) {
	if f == nil || !f.operator.there() || f.operator.object == nil {
		return nil, false
	}
	for _, container := range f.operator.object.Spec.Template.Spec.Containers {
		for at, argument := range container.Args {
			name, value, is := strings.Cut(strings.TrimLeft(argument, "-"), "=")
			if name != "watch-namespaces" {
				continue
			}
			if !is && at+1 < len(container.Args) {
				value = container.Args[at+1]
			}
			return listedIn(value), value != ""
		}
	}
	return nil, false
}

// installation says what is wrong with the installation.
func installation(f *installationFacts, now time.Time) section {
	result := section{About: "oauth-operator in " + operatorNamespace}
	for _, judge := range []func(*installationFacts, time.Time) finding{versions, definitions, working, keyring, guards, consentPages} {
		result.Findings = append(result.Findings, judge(f, now))
	}
	return result
}

// withoutSight is the finding about what could not be looked at.
func withoutSight(what string, err error) finding {
	var right *missingRightError
	if errors.As(err, &right) {
		return finding{Level: levelUnknown, What: what, Message: "not looked at: you may not " + right.right.String()}
	}
	return finding{Level: levelUnknown, What: what, Message: "not looked at: " + clean(wording(err))}
}

func versions(f *installationFacts, _ time.Time) finding {
	switch {
	case f.version == "":
		return finding{Level: levelUnknown, What: "Kubernetes", Message: "the API server does not tell its version"}
	case f.minor < leastMinor:
		return finding{
			Level: levelFault, What: "Kubernetes", Actor: actorPlatform,
			Message: fmt.Sprintf("the API server is %s, and has no admission policies of version v1: 1.%d is the least", f.version, leastMinor),
		}
	default:
		return finding{Level: levelOK, What: "Kubernetes", Message: f.version}
	}
}

func definitions(f *installationFacts, _ time.Time) finding {
	install := []string{line("kubectl", "apply", "-k", "config/crd")}
	fault := func(format string, arguments ...any) finding {
		return finding{Level: levelFault, What: "definitions", Message: fmt.Sprintf(format, arguments...), Actor: actorPlatform, Commands: install}
	}
	for _, plural := range []string{"connectedaccounts", "oauthclients"} {
		name := plural + "." + v1alpha1.Group
		found := f.definitions[name]
		switch {
		case found.missing():
			return fault("there is no CustomResourceDefinition %s: the operator is not installed", name)
		case !found.there():
			return withoutSight("definitions", found.err)
		}
		schema := servedSchema(found.object)
		if schema == nil {
			return fault("the CustomResourceDefinition %s does not serve %s", name, v1alpha1.GroupVersion().Version)
		}
		var status any = v1alpha1.ConnectedAccountStatus{}
		if plural == "oauthclients" {
			status = v1alpha1.OAuthClientStatus{}
		}
		if unknown := unknownFields(schema, status); len(unknown) > 0 {
			return fault("the CustomResourceDefinition %s is older than this program, and does not know status.%s", name, strings.Join(unknown, ", status."))
		}
	}
	return finding{Level: levelOK, What: "definitions", Message: "both kinds are served, with all fields"}
}

// servedSchema is the schema of our version; nil: it is not served.
func servedSchema(definition *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.JSONSchemaProps {
	established := slices.ContainsFunc(definition.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
	for _, version := range definition.Spec.Versions {
		if version.Name == v1alpha1.GroupVersion().Version && version.Served && established && version.Schema != nil {
			return version.Schema.OpenAPIV3Schema
		}
	}
	return nil
}

// unknownFields are fields of our status that a schema does not have.
func unknownFields(schema *apiextensionsv1.JSONSchemaProps, status any) []string {
	var unknown []string
	known := schema.Properties["status"].Properties
	for at := range reflect.TypeOf(status).NumField() {
		name, _, _ := strings.Cut(reflect.TypeOf(status).Field(at).Tag.Get("json"), ",")
		if _, has := known[name]; !has {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// working says whether anybody does the work: who holds the lease does, wherever that runs.
func working(f *installationFacts, now time.Time) finding {
	const what = "operator"
	deployment, lease := f.operator, f.lease
	switch {
	case !lease.there() && !lease.missing():
		return withoutSight(what, lease.err)
	case !deployment.there() && !deployment.missing():
		return withoutSight(what, deployment.err)
	}
	pods := "there is no Deployment " + operatorName
	if deployment.there() {
		pods = fmt.Sprintf("%d of %d replicas are ready", deployment.object.Status.ReadyReplicas, ptr.Deref(deployment.object.Spec.Replicas, 1))
	}
	holder, age, fresh := held(lease, now)
	logs := []string{line("kubectl", "-n", operatorNamespace, "get", "pods"), line("kubectl", "-n", operatorNamespace, "logs", "deployment/"+operatorName, "--all-pods", "--tail=50")}
	switch {
	case fresh && lease.object.Spec.RenewTime.Sub(now) > clockTolerance:
		return finding{Level: levelWarning, What: what, Message: fmt.Sprintf("%s holds the lease, and has renewed it at a time that has not come yet: the clock of this machine, or of that one, is wrong by %s, and so is what is said here of times",
			holder, duration.HumanDuration(lease.object.Spec.RenewTime.Sub(now)))}
	case fresh && deployment.there() && deployment.object.Status.ReadyReplicas > 0:
		return finding{Level: levelOK, What: what, Message: fmt.Sprintf("%s; %s holds the lease, renewed %s ago; image %s", pods, holder, age, imageOf(deployment.object))}
	case fresh:
		return finding{Level: levelNote, What: what, Message: fmt.Sprintf("%s, but %s holds the lease, renewed %s ago: it runs elsewhere", pods, holder, age)}
	case holder != "":
		return finding{Level: levelFault, What: what, Message: fmt.Sprintf("nobody works: %s, and the lease of %s was renewed %s ago", pods, holder, age), Actor: actorPlatform, Commands: logs}
	default:
		return finding{Level: levelFault, What: what, Message: "nobody works: " + pods + ", and nobody holds the lease", Actor: actorPlatform, Commands: logs}
	}
}

// held says who holds a lease, when it was renewed, and whether it is still held.
func held(lease seen[*coordinationv1.Lease], now time.Time) (holder, age string, fresh bool) {
	if !lease.there() || lease.object.Spec.RenewTime == nil || ptr.Deref(lease.object.Spec.HolderIdentity, "") == "" {
		return "", "", false
	}
	spec := lease.object.Spec
	since := now.Sub(spec.RenewTime.Time)
	lasts := time.Duration(ptr.Deref(spec.LeaseDurationSeconds, 0))*time.Second + leaseTolerance
	return *spec.HolderIdentity, duration.HumanDuration(max(since, 0)), since < lasts
}

func imageOf(deployment *appsv1.Deployment) string {
	if containers := deployment.Spec.Template.Spec.Containers; len(containers) > 0 {
		return containers[0].Image
	}
	return "none"
}

func keyring(f *installationFacts, _ time.Time) finding {
	switch {
	case f.keyring.there():
		return finding{Level: levelOK, What: "keyring", Message: "the Secret " + keyringName + " is there"}
	case f.keyring.missing():
		return finding{
			Level: levelFault, What: "keyring", Actor: actorPlatform,
			Message: "there is no Secret " + keyringName + ": while credentials depend on it, restore it from its backup; the operator makes one only where none does",
		}
	default:
		return withoutSight("keyring", f.keyring.err)
	}
}

// guards looks for the admission policies.
func guards(f *installationFacts, _ time.Time) finding {
	var missing []string
	for _, name := range policies() {
		policy, binding := f.policies[name], f.bindings[name]
		switch {
		case policy.missing() || binding.missing():
			missing = append(missing, name)
		case !policy.there():
			return withoutSight("policies", policy.err)
		case !binding.there():
			return withoutSight("policies", binding.err)
		case !slices.Contains(binding.object.Spec.ValidationActions, admissionv1.Deny):
			missing = append(missing, name+" (its binding does not deny)")
		}
	}
	if len(missing) > 0 {
		return finding{
			Level: levelFault, What: "policies", Message: "what protects statuses and Secrets is not there: " + listed(missing),
			Actor: actorPlatform, Commands: []string{line("kubectl", "apply", "-k", "config/default")},
		}
	}
	return finding{Level: levelOK, What: "policies", Message: fmt.Sprintf("all %d are in force", len(policies()))}
}

// consentPages looks at the part that faces the internet, where it is installed.
func consentPages(f *installationFacts, _ time.Time) finding {
	const what = "consent pages"
	for _, err := range []error{f.settings.err, f.consent.err, f.consentFinder.err, f.consentKeys.err} {
		if err != nil && !apierrors.IsNotFound(err) {
			return withoutSight(what, err)
		}
	}
	fault := func(message string, commands ...string) finding {
		return finding{Level: levelFault, What: what, Message: message, Actor: actorPlatform, Commands: commands}
	}
	install := line("kubectl", "apply", "-k", "config/consent")
	switch {
	case f.settings.missing() && f.consent.missing():
		return finding{Level: levelNote, What: what, Message: "not installed: people consent only where the operator itself serves the pages; refresh tokens can be imported"}
	case f.settings.missing() || f.settings.object.Data["url"] == "":
		return fault("there is no ConfigMap "+consentName+" with the key url: nobody knows the public URL of the pages",
			line("kubectl", "-n", operatorNamespace, "create", "configmap", consentName, "--from-literal=url=https://oauth.example.com"))
	case f.consent.missing():
		return fault("the public URL is "+f.settings.object.Data["url"]+", and there is no Deployment "+consentName, install)
	case f.consentFinder.missing():
		return fault("there is no Service "+consentName+": no Ingress can lead to the pages", install)
	case f.consentKeys.missing():
		return fault("there is no Secret " + consentName + ", which the operator writes: is it running?")
	case f.consent.object.Status.ReadyReplicas == 0:
		return fault("none of their replicas is ready", line("kubectl", "-n", operatorNamespace, "logs", "deployment/"+consentName, "--all-pods", "--tail=50"))
	case f.operator.there() && imageOf(f.operator.object) != imageOf(f.consent.object):
		return finding{
			Level: levelWarning, What: what, Actor: actorPlatform,
			Message: "they run the image " + imageOf(f.consent.object) + ", and the operator " + imageOf(f.operator.object) + ": they belong together",
		}
	default:
		return finding{Level: levelOK, What: what, Message: f.settings.object.Data["url"] + ", " + plural(int(f.consent.object.Status.ReadyReplicas), "replica") + " ready"}
	}
}
