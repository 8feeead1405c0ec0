/** Conversations of two people: subjects, answers, files, and what is unread (docs/protocol.md §5). */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { entries, markDeleted } from '../../client/home/outbox.ts'
import { forget } from '../../client/home/kept.ts'
import { Home } from '../../client/home/home.ts'
import { befriend, type Person, person, relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(60_000)
t.testdir()
const at = (...names: string[]) => join(t.testdirName, ...names)
const relay = await startTestRelay(at('relay'))
t.teardown(() => relay.close())

const pull = async ({ client }: Person) => {
  await client.pull()
  await client.finish()
}

t.test('a letter with files, its answer, and what each side has of it', async (t) => {
  const alice = await person(at('alice'), 'Alice', [relay])
  const bob = await person(at('bob'), 'Bob', [relay])
  await befriend(alice, bob)
  writeFileSync(at('plan.txt'), 'the plan')
  writeFileSync(at('map.txt'), 'the map')
  await alice.client.send(bob.client.identity, 'a chat, and no letter')
  const files = ['--attach', at('plan.txt'), '--attach', at('map.txt')]
  const words = ['--subject', 'Our \u202eplan', '--text', 'see attached']
  const wrote = await relayCommand(alice.home, ['mail', 'write', 'Bob', ...words, ...files, '--json'])
  await pull(bob)
  const [[mine], [his]] = [await alice.client.mail.threads(), await bob.client.mail.threads()]
  const listed = await relayCommand(bob.home, ['mail', '--json'])
  const id: string = listed.rows[0].thread
  const shown = await relayCommand(bob.home, ['mail', 'read', id.slice(0, 8)], { tty: true })
  const read = await relayCommand(bob.home, ['mail', 'read', id, '--json'])
  const answer = await relayCommand(bob.home, ['mail', 'reply', id.slice(0, 6), '-'], { stdin: 'agreed' })
  await pull(alice)
  const other = await alice.client.mail.write(bob.client.identity, { subject: 'Newer', text: 'x' })

  t.equal(his!.lastMs, mine!.lastMs, 'as it was sent')
  t.match(wrote, { code: 0, rows: [{ state: 'delivered', to: 'Bob' }] })
  t.match(listed.rows, [{ with: 'Alice', subject: 'Our \u202eplan', letters: 1, unread: 1 }])
  t.equal(listed.rows.length, 1, 'a text without a subject is no letter')
  t.equal(shown.code, 0)
  t.match(shown.stdout, /see attached\n {4}\[file .*plan\.txt\]\n {4}\[file .*map\.txt\]/)
  t.notMatch(shown.stdout, /\u202e/, 'no words of others turn a terminal around')
  t.match(read.rows, [
    { text: 'see attached', files: [{ name: 'plan.txt', state: 'saved' }, { state: 'saved' }] },
  ])
  t.equal(readFileSync(read.rows[0].files[0].file, 'utf8'), 'the plan')
  t.equal(answer.code, 0)
  t.equal((await bob.client.mail.thread(id)).unread, 0)
  const [first, second] = await alice.client.mail.threads()
  t.match(first, { id: other.recordId, unread: 0, subject: 'Newer' })
  t.match(second, {
    id,
    unread: 1,
    letters: [
      { isOwn: true, text: 'see attached' },
      { isOwn: false, text: 'agreed' },
    ],
  })
  t.match(await alice.client.mail.attachments(second!, second!.letters[0]!), [
    { name: 'plan.txt', state: 'sent' },
    { name: 'map.txt', state: 'sent' },
  ])

  const home = Home.at(alice.home)
  const all = [...(await entries(home)).values()]
  await markDeleted(home, all[0]!.id)
  await forget(home, ...all)
  t.equal((await alice.client.mail.thread(id)).letters.length, 2, 'what we wrote outlives the outbox')
  await t.rejects(alice.client.mail.thread('ffffffff'), { code: 'ERR_NOT_FOUND' })
})

t.test("nobody gets into another's conversation by naming it", async (t) => {
  const [carol, dave, eve] = (await Promise.all(
    ['Carol', 'Dave', 'Eve'].map((name) => person(at(name), name, [relay])),
  )) as [Person, Person, Person]
  await befriend(carol, dave, eve)
  const { recordId } = await carol.client.mail.write(dave.client.identity, {
    subject: 'ours',
    text: 'hello',
  })
  await eve.client.send(dave.client.identity, {
    type: 'text',
    text: 'me too',
    subject: 'ours',
    thread: recordId,
  })
  await pull(dave)
  const threads = await dave.client.mail.threads()
  const inMail = await relayCommand(dave.home, ['mail', 'read', recordId])
  const usage = await Promise.all(
    [
      ['write', 'Carol', '--text', 'x'],
      ['reply', recordId],
      ['burn', 'x'],
      ['reply', recordId, '--subject', 's', '--text', 'x'],
    ].map((args) => relayCommand(dave.home, ['mail', ...args])),
  )

  t.same(new Set(threads.map(({ peer }) => peer)), new Set([carol.client.identity, eve.client.identity]))
  t.same(
    threads.map(({ letters }) => letters.length),
    [1, 1],
  )
  t.not(inMail.code, 0, 'two conversations have this id: which is not guessed')
  t.same(
    usage.map(({ code }) => code),
    [2, 2, 2, 2],
  )
})

t.test(
  'the price of a letter is that of its files too, and it is said before anything is sent',
  async (t) => {
    const frank = await person(at('frank'), 'Frank', [relay])
    writeFileSync(at('big.bin'), Buffer.alloc(300_000, 1))
    const heard: { records: number }[] = []
    const onQuote = (quoted: { records: number }) => void heard.push(quoted)
    const letter = { subject: 'to myself', text: 'with a file' }
    const sent = await frank.client.mail.write(frank.client.identity, letter, {
      attach: [at('big.bin')],
      onQuote,
      maxCost: 0,
    })

    t.match(heard, [{ records: 4 }], 'two chunks, the file, the letter')
    t.equal(sent.state, 'delivered')
  },
)
