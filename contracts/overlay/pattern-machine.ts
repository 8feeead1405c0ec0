/** The machine that a pattern of message boxes becomes (box-pattern.ts): it follows all positions at once, and tries nothing again. */

/** Of one machine, after counted repetitions are written out. */
const mostSteps = 512

export type Accepts = (code: number) => boolean
export type Node =
  | { readonly kind: 'take'; readonly accepts: Accepts }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'all'; readonly parts: readonly Node[] }
  | { readonly kind: 'any'; readonly parts: readonly Node[] }
  | { readonly kind: 'repeat'; readonly part: Node; readonly least: number; readonly most: number }

export interface Pattern {
  /** As `RegExp.test`. @param text bounded by whoever asks */
  test(text: string): boolean
}

export class NoPattern extends Error {}

type Step =
  | { readonly kind: 'take'; readonly accepts: Accepts; next: number }
  | { readonly kind: 'split'; next: number; other: number }
  | { readonly kind: 'start' | 'end'; next: number }
  | { readonly kind: 'done' }

/** @throws NoPattern when it would be too large */
export function machineOf(node: Node): Pattern {
  const steps: Step[] = [{ kind: 'done' }]
  const first = compile(node, 0, steps)
  return { test: (text) => run(steps, first, text) }
}

/** Puts the steps of a node before `next`. @returns its first */
function compile(node: Node, next: number, steps: Step[]): number {
  const add = (step: Step): number => {
    if (steps.length === mostSteps) throw new NoPattern()
    return steps.push(step) - 1
  }
  if (node.kind === 'take') return add({ kind: 'take', accepts: node.accepts, next })
  if (node.kind === 'start' || node.kind === 'end') return add({ kind: node.kind, next })
  if (node.kind === 'all') return node.parts.reduceRight((after, part) => compile(part, after, steps), next)
  if (node.kind === 'any')
    return node.parts
      .map((part) => compile(part, next, steps))
      .reduceRight((other, first) => add({ kind: 'split', next: first, other }))
  const { part, least, most } = node
  let first = next
  if (most === Number.POSITIVE_INFINITY) {
    first = add({ kind: 'split', next, other: next })
    const loop = steps[first] as { next: number } // the split that was just added
    loop.next = compile(part, first, steps)
  } else {
    for (let count = least; count < most; count++)
      first = add({ kind: 'split', next: compile(part, first, steps), other: next })
  }
  for (let count = 0; count < least; count++) {
    const before = first
    first = compile(part, before, steps)
    // Nothing, how ever often, is nothing: else it could be asked for without end.
    if (first === before) break
  }
  return first
}

/** Lists of steps are of fixed size, and a step is in a list once: strangers choose what is followed. */
function run(steps: readonly Step[], first: number, text: string): boolean {
  const { length } = text
  let [here, after] = [new Uint16Array(steps.length), new Uint16Array(steps.length)]
  let [count, at] = [0, 0]
  /** Behind how many characters a step was reached last, and one more. */
  const seen = new Uint32Array(steps.length)
  /** Puts behind the first `count` steps of a list what can be reached from a step without taking anything; how many there are then. */
  const reach = (from: number, list: Uint16Array, before: number): number => {
    let end = before
    const visit = (index: number): void => {
      if (seen[index] === at + 1) return
      seen[index] = at + 1
      list[end++] = index
    }
    visit(from)
    for (let next = before; next < end; next++) {
      const step = steps[list[next]!]! // of the list
      if (step.kind === 'split') {
        visit(step.next)
        visit(step.other)
      } else if ((step.kind === 'start' && at === 0) || (step.kind === 'end' && at === length))
        visit(step.next)
    }
    return end
  }
  for (;;) {
    // A match may begin anywhere.
    count = reach(first, here, count)
    if (seen[0] === at + 1) return true
    if (at === length) return false
    const code = text.charCodeAt(at++)
    let found = 0
    for (let index = 0; index < count; index++) {
      const step = steps[here[index]!]! // of the list
      if (step.kind === 'take' && step.accepts(code)) found = reach(step.next, after, found)
    }
    ;[here, after] = [after, here]
    count = found
  }
}
