package fleet

import "time"

// answers are the jobs that this process has executed lately: brokers deliver a request once more where its ack was lost, or
// came late. They are bounded in number, bytes and time.
type answers struct {
	jobs  map[string]*job // by the request
	kept  []keptAnswer    // in the order of their ends; those before head are gone
	head  int
	bytes int
}

type keptAnswer struct {
	from  string
	bytes int
	until time.Time
}

// maxAnswers bounds the bytes of replies that are kept.
const maxAnswers = 16 << 20

// to returns the job that has executed a request, if it is known.
func (a *answers) to(from string) *job {
	a.trim(time.Now(), len(a.kept))
	return a.jobs[from]
}

// add keeps a job that has been replied to.
func (a *answers) add(j *job, ttl time.Duration, most int) {
	now, size := time.Now(), 256+2*len(j.from)+sizeOfEnvelope(j.reply)
	if size > maxAnswers || a.jobs[j.from] != nil {
		return
	}
	if a.jobs == nil {
		a.jobs = make(map[string]*job)
	}
	a.jobs[j.from] = j
	a.kept = append(a.kept, keptAnswer{j.from, size, now.Add(ttl)})
	a.bytes += size
	a.trim(now, most)
}

// trim forgets what is too old, and the oldest of what is too much.
func (a *answers) trim(now time.Time, most int) {
	for a.head < len(a.kept) {
		oldest := a.kept[a.head]
		if len(a.kept)-a.head <= most && a.bytes <= maxAnswers && now.Before(oldest.until) {
			break
		}
		delete(a.jobs, oldest.from)
		a.bytes -= oldest.bytes
		a.kept[a.head] = keptAnswer{}
		a.head++
	}
	if a.head > 64 && a.head > len(a.kept)/2 {
		a.kept = append(a.kept[:0:0], a.kept[a.head:]...)
		a.head = 0
	}
}
