package controller

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/built"
)

// conditionCounts counts accounts by what their conditions say. There are as many as there are different things said at the
// moment: the names of accounts and what messages say are not among them.
type conditionCounts map[conditionKey]*conditionCount

type conditionKey struct{ condition, status, reason string }

type conditionCount struct {
	key      conditionKey
	accounts int
}

// recount takes an account out of what it was counted under, and counts it under what its conditions say now. It returns what
// that is. Conditions of others are not counted: there may be any.
func (c conditionCounts) recount(before []*conditionCount, conditions []metav1.Condition) []*conditionCount {
	for _, counted := range before {
		counted.accounts--
		if counted.accounts == 0 {
			delete(c, counted.key)
		}
	}
	var now []*conditionCount
	for _, said := range conditions {
		if !ours(said.Type) {
			continue
		}
		key := conditionKey{said.Type, string(said.Status), said.Reason}
		if c[key] == nil {
			c[key] = &conditionCount{key: key}
		}
		c[key].accounts++
		now = append(now, c[key])
	}
	return slices.Clip(now)
}

func ours(condition string) bool {
	switch condition {
	case v1alpha1.ConditionReady, v1alpha1.ConditionClientReady, v1alpha1.ConditionAuthorized, v1alpha1.ConditionRefreshed,
		v1alpha1.ConditionPublished, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled:
		return true
	default:
		return false
	}
}

func buildInfo(version string) prometheus.Metric {
	return built.Info("oauth_operator_build_info", "Always 1; the labels tell what the operator was built from.", version)
}
