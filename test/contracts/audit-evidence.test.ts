/** An evidence file is checked from its signed texts alone: nothing that its maker could have written is believed. */
import t from 'tap'
import { audit } from '../../contracts/audit/verdict.ts'
import { type Evidence, makeEvidence } from '../../contracts/audit/evidence.ts'
import { verifyEvidence } from '../../contracts/audit/verify.ts'
import { sha256Hex } from '../../market/hash.ts'
import { AuditRelay, dayOne, hourMs } from '../fixtures/audit-relay.ts'
import { alice, bob, relay as relayIdentity } from '../fixtures/keys.ts'

/** A file that proves one pull beyond what the record allowed. */
async function evidence(): Promise<Evidence> {
  const relay = new AuditRelay()
  const kept = await relay.write({ maxPulls: 1 })
  await relay.pull(kept, dayOne + hourMs)
  await relay.pull(kept, dayOne + 2 * hourMs)
  const pages = await relay.report(dayOne + 3 * hourMs)
  const order = { books: relay.books(), purse: 'credit', pages: () => pages, sample: () => true }
  const { findings } = await audit(order)
  const head = { relay: relayIdentity.identity, owner: alice.identity, account: 'credit', made: dayOne }
  const texts = [...relay.texts(), ...pages.map(({ text }) => text)]
  return JSON.parse(makeEvidence({ ...head, findings, texts }))
}
const check = (file: unknown) => verifyEvidence(JSON.stringify(file))

t.test('the file convinces, in words of the checker', async (t) => {
  const file = await evidence()
  file.findings[0]!.sentence = 'the relay stole a million'
  const { isProven, findings, faults } = check(file)

  t.ok(isProven)
  t.equal(faults.size, 0)
  t.match(findings[0]!.why, /2 pulls are billed, the relay’s receipt allows 1/)
  t.notMatch(findings[0]!.why, /million/)
})

t.test('what was changed proves nothing', async (t) => {
  const changes: Record<string, (file: any) => void> = {
    'a digit in a signed text': (file) => {
      for (const name of Object.keys(file.texts))
        file.texts[name] = file.texts[name].replace('"maxPulls":1,', '"maxPulls":0,')
    },
    'texts under other names': (file) => {
      file.texts = Object.fromEntries(
        Object.values(file.texts).map((text, n) => [sha256Hex(String(n)), text]),
      )
    },
    'the name of the relay': (file) => (file.relay = bob.identity),
    'the name of the owner': (file) => (file.owner = bob.identity),
    'the purse': (file) => (file.account = 'grant'),
    'the kind of accusation': (file) => (file.findings[0].kind = 'wrong-size'),
    'the pulls that are meant': (file) => (file.findings[0].seqs = [1]),
    'a pull that is not there': (file) => (file.findings[0].seqs = [1, 2, 3]),
    'no texts': (file) => (file.texts = {}),
    'texts that are none': (file) => (file.texts = { [sha256Hex('x')]: '{"msg":1}' }),
    'nothing claimed': (file) => (file.findings[0].isProvable = false),
    'no findings': (file) => (file.findings = []),
  }
  for (const [name, change] of Object.entries(changes)) {
    const file = await evidence()
    change(file)
    const kind = file.findings[0]?.kind
    const { isProven, findings } = check(file)
    t.notOk(isProven, name)
    if (name !== 'nothing claimed')
      t.ok(
        findings.every(({ outcome }) => outcome === 'not proven'),
        `${name} (${kind})`,
      )
  }
})

t.test('every kind that nothing is shown for is not proven', async (t) => {
  const file = await evidence()
  const kinds =
    'bad-signature missing-read read-twice wrong-size unknown-record outside-lifetime above-bilateral-pulls broken-chain wrong-purse wrong-price wrong-storage wrong-ingress wrong-egress failed-proof'
  for (const kind of kinds.split(' ')) {
    const findings = [{ ...file.findings[0]!, kind, texts: Object.keys(file.texts).slice(0, 8) }]
    t.equal(check({ ...file, findings }).findings[0]!.outcome, 'not proven', kind)
  }
})

t.test('what is no evidence file is refused', async (t) => {
  const file = await evidence()
  for (const text of [
    '',
    'null',
    '{}',
    JSON.stringify({ ...file, v: 2 }),
    JSON.stringify({ ...file, more: 1 }),
  ])
    t.throws(() => verifyEvidence(text), { code: 'ERR_MALFORMED' })
  const texts = Object.fromEntries(Array.from({ length: 10_001 }, (_, n) => [sha256Hex(String(n)), '']))
  t.throws(() => check({ ...file, texts }), { code: 'ERR_TOO_LARGE' })
})
