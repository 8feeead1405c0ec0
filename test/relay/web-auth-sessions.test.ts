/** The bytes that are signed, against the sdk's writer; and how sessions are kept. */
import { Utils } from '@bsv/sdk'
import t from 'tap'
import { sha256 } from '../../market/hash.ts'
import { requestDigest, requestFields, responseDigest, responseFields } from '../../relay/web/preimage.ts'
import { WebAuthLimits } from '../../relay/web/limits.ts'
import { newSession, type Session, Sessions } from '../../relay/web/sessions.ts'
import { alice } from '../fixtures/keys.ts'

const requestId = Uint8Array.from({ length: 32 }, (_, index) => index)
const put = (writer: Utils.Writer, bytes: ArrayLike<number>) =>
  writer.writeVarIntNum(bytes.length).write(Array.from(bytes))
const putText = (writer: Utils.Writer, text: string) => put(writer, Utils.toArray(text, 'utf8'))

function putFields(writer: Utils.Writer, fields: Record<string, string>): void {
  const entries = Object.entries(fields).sort(([a], [b]) => a.localeCompare(b))
  writer.writeVarIntNum(entries.length)
  for (const pair of entries) for (const text of pair) putText(writer, text)
}

/** Every character a field's name may have, and names that begin like one another. */
const names = [..."!#$%&'*+-.^_`|~09az", '', '-', 'a-b', 'a_b', 'ab', 'aa', 'ch', 'payment', 'payment-a'].map(
  (rest) => `x-bsv-${rest}`,
)

t.test('a request is signed as clients compute it, whatever the lengths', async (t) => {
  const fields = Object.fromEntries([
    ...names.map((name, index) => [name, `value ${index} é🌍`]),
    ['authorization', 'x'.repeat(0xfc)],
    ['x-bsv-long', 'x'.repeat(0x1_0000)],
    ['x-bsv-fd', 'x'.repeat(0xfd)],
  ])
  for (const length of [0, 1, 0xfc, 0xfd, 0xffff, 0x1_0000]) {
    for (const url of ['/a/b%20c', '/a?b=c%26&d', `/${'p'.repeat(300)}?${'q'.repeat(300)}`]) {
      const body = new Uint8Array(length).fill(7)
      const writer = new Utils.Writer().write([...requestId])
      putText(writer, 'POST')
      const { pathname, search } = new URL(url, 'http://x')
      putText(writer, pathname)
      if (search === '') writer.writeVarIntNum(-1)
      else putText(writer, search)
      putFields(writer, { ...fields, 'content-type': 'text/plain' })
      if (length === 0) writer.writeVarIntNum(-1)
      else put(writer, body)

      const headers = {
        host: 'x',
        'x-bsv-auth-nonce': 'n',
        ...fields,
        'content-type': 'text/plain ; charset=utf-8',
      }
      const digest = requestDigest({ requestId, method: 'POST', url, fields: requestFields(headers) }, body)

      t.same([...digest], [...sha256(Uint8Array.from(writer.toArray()))], `${url.length} ${length}`)
    }
  }
})

t.test('an answer is signed as clients compute it, an empty one too', async (t) => {
  for (const status of [200, 252, 253, 404, 599]) {
    for (const length of [0, 3, 0x1_0000]) {
      const body = new Uint8Array(length).fill(7)
      const writer = new Utils.Writer().write([...requestId]).writeVarIntNum(status)
      putFields(writer, { 'x-bsv-a': '1', 'x-bsv-b': 'two, three', authorization: 'z' })
      put(writer, body)

      const headers = {
        'x-bsv-b': ['two', 'three'],
        'content-type': 'a/b',
        'x-bsv-a': 1,
        authorization: ' z\t',
      }
      const digest = responseDigest({ requestId, status, fields: responseFields(headers) }, body)

      t.same([...digest], [...sha256(Uint8Array.from(writer.toArray()))], `${status} ${length}`)
    }
  }
})

const limits = WebAuthLimits.parse({
  newSessions: 3,
  newSessionMs: 100,
  sessions: 2,
  sessionIdleMs: 1000,
  noncesPerSession: 4,
  nonces: 6,
})
const opened = (sessions: Sessions, now: number): Session => {
  const session = newSession(alice.identity, 'peer', now)
  sessions.keep(session)
  return session
}

t.test('beginnings are bounded in number and time, and give way only to one another', async (t) => {
  const sessions = new Sessions(limits)
  const proven = opened(sessions, 0)
  t.equal(sessions.accept(proven, 'a', 0), 'accepted')

  const begun = [0, 1, 2, 3].map((now) => opened(sessions, now))

  t.same(
    begun.map((session) => sessions.find(session.nonce, 3) === session),
    [false, true, true, true],
  )
  t.equal(sessions.size, 4)
  t.equal(sessions.find(begun[1]!.nonce, 102), undefined, 'one that waited too long')
  opened(sessions, 200)
  t.equal(sessions.size, 2, 'all that waited too long are gone with the next')
  t.equal(sessions.find(proven.nonce, 200), proven)
})

t.test('the session unused for longest gives way; one found but not used is not used', async (t) => {
  const sessions = new Sessions(limits)
  const [first, second, third] = [opened(sessions, 0), opened(sessions, 0), opened(sessions, 0)]
  sessions.accept(first, 'a', 1)
  sessions.accept(second, 'a', 2)
  sessions.find(first.nonce, 3)
  sessions.accept(third, 'a', 4)

  t.same(
    [first, second, third].map((session) => sessions.find(session.nonce, 4) !== undefined),
    [false, true, true],
  )
  t.equal(sessions.nonces, 2)
  t.equal(sessions.accept(first, 'b', 5), 'accepted', 'what was being read when it gave way')
  t.equal(sessions.find(first.nonce, 5), undefined, 'brings it not back')
  t.equal(sessions.nonces, 2)
  t.equal(sessions.find(second.nonce, 1003), undefined, 'idle for too long')
  t.same([sessions.size, sessions.nonces], [1, 1])
})

t.test('nonces are remembered as long as their session, which ends when it has too many', async (t) => {
  const sessions = new Sessions(limits)
  const [first, second] = [opened(sessions, 0), opened(sessions, 0)]

  t.same(
    ['a', 'b', 'a', 'c', 'b'].map((nonce) => sessions.accept(first, nonce, 1)),
    ['accepted', 'accepted', 'replayed', 'accepted', 'replayed'],
  )
  t.equal(sessions.find(first.nonce, 1), first)
  for (const nonce of ['a', 'b', 'c']) sessions.accept(second, nonce, 2)
  t.same([sessions.size, sessions.nonces], [2, 6])
  sessions.accept(second, 'd', 3)
  t.same([sessions.size, sessions.nonces], [1, 4], 'all nonces together are bounded too')
  t.equal(sessions.find(second.nonce, 3), undefined, 'used up')
  t.same([sessions.size, sessions.nonces], [0, 0])
})
