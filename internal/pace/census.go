package pace

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Census knows which accounts there are in each namespace, and which of them are beyond the limit: the youngest. Safe for
// concurrent use.
type Census struct {
	// Limit is for each namespace; 0: there is none.
	Limit int

	mu         sync.Mutex
	namespaces map[string]*members
}

// members are the accounts of one namespace, the oldest first.
type members struct {
	created map[string]time.Time
	list    []member
}

type member struct {
	created time.Time
	name    string
}

func (m member) compare(other member) int {
	return cmp.Or(m.created.Compare(other.created), cmp.Compare(m.name, other.name))
}

// Add counts an account. It returns the name of the one that is beyond the limit by it; "": none.
func (c *Census) Add(namespace, name string, created time.Time) (pushed string) {
	if c.Limit <= 0 {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	here := c.namespaces[namespace]
	if here == nil {
		here = &members{created: map[string]time.Time{}}
		if c.namespaces == nil {
			c.namespaces = map[string]*members{}
		}
		c.namespaces[namespace] = here
	}
	known, is := here.created[name]
	if is && known.Equal(created) {
		return ""
	}
	if is {
		here.remove(member{known, name})
	}
	added := member{created, name}
	here.created[name] = created
	at, _ := slices.BinarySearchFunc(here.list, added, member.compare)
	here.list = slices.Insert(here.list, at, added)
	if at < c.Limit && len(here.list) > c.Limit {
		return here.list[c.Limit].name
	}
	return ""
}

// Remove counts an account no more. It returns the name of the one that is within the limit by it; "": none.
func (c *Census) Remove(namespace, name string) (admitted string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	here := c.namespaces[namespace]
	if here == nil {
		return ""
	}
	created, is := here.created[name]
	if !is {
		return ""
	}
	at := here.remove(member{created, name})
	delete(here.created, name)
	if len(here.list) == 0 {
		delete(c.namespaces, namespace)
	}
	if at < c.Limit && len(here.list) >= c.Limit {
		return here.list[c.Limit-1].name
	}
	return ""
}

func (m *members) remove(gone member) (at int) {
	at, is := slices.BinarySearchFunc(m.list, gone, member.compare)
	if is {
		m.list = slices.Delete(m.list, at, at+1)
	}
	return at
}

// Beyond reports whether an account is beyond the limit.
func (c *Census) Beyond(namespace, name string) bool {
	if c.Limit <= 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	here := c.namespaces[namespace]
	if here == nil || len(here.list) <= c.Limit {
		return false
	}
	created, is := here.created[name]
	return is && member{created, name}.compare(here.list[c.Limit-1]) > 0
}
