const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text from anywhere, as text in HTML and in attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

/** A table; numbers are aligned right. Cells are text, not HTML. */
export function htmlTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cell = (tag: 'td' | 'th', value: string | number): string => {
    const text = typeof value === 'number' ? value.toLocaleString('en-US') : value;
    return `<${tag}${/^[-\d.,]+$/.test(text) ? ' class="number"' : ''}>${escapeHtml(text)}</${tag}>`;
  };
  const line = (tag: 'td' | 'th', cells: readonly (string | number)[]): string =>
    `<tr>${cells.map((each) => cell(tag, each)).join('')}</tr>`;
  return `<div class="scroll"><table><thead>${line('th', head)}</thead><tbody>${rows
    .map((row) => line('td', row))
    .join('')}</tbody></table></div>`;
}
