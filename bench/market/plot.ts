/** Line charts as SVG: what a document can show without a program. */
export interface Line {
  readonly name: string
  readonly colour: string
  /** One for each x, which count from 0. */
  readonly values: readonly number[]
  readonly isDashed?: boolean
}

export interface Chart {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly lines: readonly Line[]
  /** Areas between two lines, by their names. */
  readonly bands?: readonly (readonly [low: string, high: string])[]
}

const [width, height] = [720, 360]
const [left, right, top, bottom] = [64, 168, 40, 44]
const ticks = 5

export function plot({ title, x, y, lines, bands = [] }: Chart): string {
  const longest = Math.max(2, ...lines.map(({ values }) => values.length))
  const highest = roundUp(Math.max(1e-9, ...lines.flatMap(({ values }) => values)))
  const lowest = Math.min(
    0,
    -roundUp(Math.max(0, ...lines.flatMap(({ values }) => values.map((one) => -one)))),
  )
  const [plotWidth, plotHeight] = [width - left - right, height - top - bottom]
  const xAt = (index: number): string => (left + (plotWidth * index) / (longest - 1)).toFixed(1)
  const yAt = (value: number): string =>
    (top + plotHeight * (1 - (value - lowest) / (highest - lowest))).toFixed(1)
  const points = (values: readonly number[]): string[] =>
    values.map((value, index) => `${xAt(index)},${yAt(value)}`)
  const scale = Array.from({ length: ticks + 1 }, (_, tick) => {
    const value = lowest + ((highest - lowest) * tick) / ticks
    const at = yAt(value)
    return `<path d="M${left},${at}H${width - right}" stroke="#ddd"/><text x="${left - 6}" y="${at}" dy="4" text-anchor="end">${numberText(value)}</text>`
  })
  const steps = Array.from({ length: ticks + 1 }, (_, tick) => {
    const index = Math.round(((longest - 1) * tick) / ticks)
    return `<text x="${xAt(index)}" y="${height - bottom + 16}" text-anchor="middle">${index}</text>`
  })
  const valuesOf = (name: string): readonly number[] => lines.find((line) => line.name === name)?.values ?? []
  const areas = bands.map(([low, high]) => {
    const around = [...points(valuesOf(high)), ...points(valuesOf(low)).reverse()]
    const colour = lines.find((line) => line.name === high)?.colour ?? '#888'
    return `<polygon points="${around.join(' ')}" fill="${colour}" opacity="0.12"/>`
  })
  const drawn = lines.map(
    ({ values, colour, isDashed }) =>
      `<polyline points="${points(values).join(' ')}" fill="none" stroke="${colour}" stroke-width="1.8"${isDashed === true ? ' stroke-dasharray="5 4"' : ''}/>`,
  )
  const legend = lines.map(
    ({ name, colour, isDashed }, index) =>
      `<path d="M${width - right + 12},${top + 8 + 20 * index}h22" stroke="${colour}" stroke-width="2"${isDashed === true ? ' stroke-dasharray="5 4"' : ''}/><text x="${width - right + 40}" y="${top + 12 + 20 * index}">${escaped(name)}</text>`,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#222">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="22" font-size="15">${escaped(title)}</text>`,
    ...scale,
    ...steps,
    `<text x="${left + plotWidth / 2}" y="${height - 8}" text-anchor="middle">${escaped(x)}</text>`,
    `<text transform="translate(16,${top + plotHeight / 2}) rotate(-90)" text-anchor="middle">${escaped(y)}</text>`,
    ...areas,
    ...drawn,
    ...legend,
    '</svg>\n',
  ].join('\n')
}

/** To the next 1, 2, 2.5 or 5 times a power of ten. */
function roundUp(value: number): number {
  if (value <= 0) return 0
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 2.5, 5, 10].find((step) => step * power >= value - 1e-12) ?? 10) * power
}

const numberText = (value: number): string => String(Number(value.toPrecision(3)))

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
