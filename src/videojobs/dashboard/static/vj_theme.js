// The theme: as the system has it, light, or dark. Remembered by the browser.
const NAMES = { system: "as the system", light: "light", dark: "dark" };
const NEXT = { system: "light", light: "dark", dark: "system" };
const ICONS = { system: "system", light: "sun", dark: "moon" };

export default {
  template: `
    <button type="button" class="vj-button quiet square vj-theme" @click="change"
      :aria-label="'Theme: ' + name + '. Change it'" :title="'Theme: ' + name">
      <svg class="vj-icon" aria-hidden="true"><use :href="'#vj-' + icon" /></svg>
    </button>`,
  data: () => ({ theme: document.documentElement.dataset.theme ?? "system" }),
  computed: {
    name() {
      return NAMES[this.theme];
    },
    icon() {
      return ICONS[this.theme];
    },
  },
  methods: {
    change() {
      this.theme = NEXT[this.theme];
      if (this.theme === "system") {
        delete document.documentElement.dataset.theme;
        localStorage.removeItem("videojobs-theme");
      } else {
        document.documentElement.dataset.theme = this.theme;
        localStorage.setItem("videojobs-theme", this.theme);
      }
    },
  },
};
