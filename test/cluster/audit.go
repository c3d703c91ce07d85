package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"
)

// auditPolicy says what the API server writes down: every request of every ServiceAccount and user, without bodies, but
// not what the control plane itself and the admin read. Kubernetes' own identities are left out for their reads only, so
// the garbage collector's deletions can be found.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
  - level: None
    userGroups: ["system:masters"]
    verbs: [get, list, watch]
  - level: None
    users:
      - system:apiserver
      - system:kube-controller-manager
      - system:serviceaccount:kube-system:generic-garbage-collector
      - system:serviceaccount:kube-system:metadata-informers
      - system:serviceaccount:kube-system:namespace-controller
      - system:serviceaccount:kube-system:shared-informers
    verbs: [get, list, watch]
  - level: None
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]
  - level: Metadata
`

// auditPolicyWith puts rules before the usual ones. The first rule that matches a request decides.
func auditPolicyWith(rules string) string {
	return strings.Replace(auditPolicy, "rules:\n", "rules:\n"+rules, 1)
}

// The stages of a request in the audit log.
const (
	// StageResponseStarted is written for requests that go on, such as a watch, when the answer begins.
	StageResponseStarted = "ResponseStarted"
	// StageResponseComplete is written for every request when its answer is complete.
	StageResponseComplete = "ResponseComplete"
	// StagePanic is written when the API server itself failed.
	StagePanic = "Panic"
)

// AuditEvent is one line of the audit log: a request at one stage. A watch has two of them.
type AuditEvent struct {
	// ID is the same for all stages of one request.
	ID string
	// User is a name such as system:serviceaccount:<namespace>:<name>.
	User      string
	UserAgent string
	// Verb is a Kubernetes verb in lower case (get, list, watch, create, update, patch, delete, deletecollection), or the
	// HTTP method in lower case where the path is not that of a resource.
	Verb string
	// Group to Name say what the request is about, and are empty where they do not apply. Name is empty for a creation.
	Group       string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	// RequestURI is the path and query as sent.
	RequestURI string
	// DryRun says whether the query asked for a dry run. For a deletion the question can be in the body, which is not seen.
	DryRun bool
	// Code is the HTTP status of the answer.
	Code  int
	Stage string
	// Received is when the request came, Written when it reached the stage; both by the server's clock, to the microsecond.
	Received time.Time
	Written  time.Time
	// RequestObject is the body that was sent, as JSON, where Options.AuditRules ask for it.
	RequestObject json.RawMessage
}

// auditLine is the form of an event in the log, audit.k8s.io/v1 Event.
type auditLine struct {
	AuditID    string `json:"auditID"`
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	Verb       string `json:"verb"`
	UserAgent  string `json:"userAgent"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
	StageTimestamp           time.Time `json:"stageTimestamp"`

	RequestObject json.RawMessage `json:"requestObject"`
}

// ReadAudit reads the events of an audit log in the order in which they were written. The log may still grow: a last line
// that is not complete yet is left for the next time.
func ReadAudit(path string) ([]AuditEvent, error) {
	return (&AuditReader{Path: path}).Next()
}

// AuditReader reads an audit log that grows, piece by piece.
type AuditReader struct {
	// Path is that of the log.
	Path string

	offset int64
	events int
}

// Next reads the events that came since the last call.
func (r *AuditReader) Next() ([]AuditEvent, error) {
	content, err := r.read()
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	decoder := json.NewDecoder(bytes.NewReader(content))
	var events []AuditEvent
	for {
		var line auditLine
		err := decoder.Decode(&line)
		if errors.Is(err, io.EOF) {
			r.offset += int64(len(content))
			r.events += len(events)
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("audit event %d: %w", r.events+len(events)+1, err)
		}
		event, err := line.event()
		if err != nil {
			return nil, fmt.Errorf("audit event %d: %w", r.events+len(events)+1, err)
		}
		events = append(events, event)
	}
}

func (r *AuditReader) read() ([]byte, error) {
	log, err := os.Open(r.Path)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // it was only read
	if _, err := log.Seek(r.offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(log)
}

func (l *auditLine) event() (AuditEvent, error) {
	uri, err := url.ParseRequestURI(l.RequestURI)
	if err != nil {
		return AuditEvent{}, err
	}
	return AuditEvent{
		ID:          l.AuditID,
		User:        l.User.Username,
		UserAgent:   l.UserAgent,
		Verb:        l.Verb,
		Group:       l.ObjectRef.APIGroup,
		Resource:    l.ObjectRef.Resource,
		Subresource: l.ObjectRef.Subresource,
		Namespace:   l.ObjectRef.Namespace,
		Name:        l.ObjectRef.Name,
		RequestURI:  l.RequestURI,
		DryRun:      uri.Query().Get("dryRun") == "All",
		Code:        l.ResponseStatus.Code,
		Stage:       l.Stage,
		Received:    l.RequestReceivedTimestamp,
		Written:     l.StageTimestamp,

		RequestObject: l.RequestObject,
	}, nil
}
