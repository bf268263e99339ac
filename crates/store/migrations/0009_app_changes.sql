-- When what is recorded of an app last changed, as a number that only grows and is never given
-- twice. Whoever has made something of an app's records keeps it beside this number, read in the
-- same transaction, and makes it anew when the number is another one. Triggers give it, so that no
-- writer can forget to; an app of which nothing is wanted yet has none.
CREATE TABLE app_changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT,
    env    TEXT NOT NULL,
    app    TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX app_changes_app ON app_changes (env, app);
INSERT INTO app_changes (env, app) SELECT env, app FROM apps;

CREATE TRIGGER apps_inserted AFTER INSERT ON apps BEGIN
    INSERT INTO app_changes (env, app) VALUES (NEW.env, NEW.app);
END;
CREATE TRIGGER apps_updated AFTER UPDATE ON apps BEGIN
    DELETE FROM app_changes WHERE env = NEW.env AND app = NEW.app;
    INSERT INTO app_changes (env, app) VALUES (NEW.env, NEW.app);
END;
CREATE TRIGGER apps_deleted AFTER DELETE ON apps BEGIN
    DELETE FROM app_changes WHERE env = OLD.env AND app = OLD.app;
END;

CREATE TRIGGER releases_inserted AFTER INSERT ON releases BEGIN
    DELETE FROM app_changes WHERE env = NEW.env AND app = NEW.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = NEW.env AND app = NEW.app;
END;
CREATE TRIGGER releases_updated AFTER UPDATE ON releases BEGIN
    DELETE FROM app_changes WHERE env = NEW.env AND app = NEW.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = NEW.env AND app = NEW.app;
END;
CREATE TRIGGER releases_deleted AFTER DELETE ON releases BEGIN
    DELETE FROM app_changes WHERE env = OLD.env AND app = OLD.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = OLD.env AND app = OLD.app;
END;

CREATE TRIGGER deployments_inserted AFTER INSERT ON deployments BEGIN
    DELETE FROM app_changes WHERE env = NEW.env AND app = NEW.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = NEW.env AND app = NEW.app;
END;
CREATE TRIGGER deployments_updated AFTER UPDATE ON deployments BEGIN
    DELETE FROM app_changes WHERE env = NEW.env AND app = NEW.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = NEW.env AND app = NEW.app;
END;
CREATE TRIGGER deployments_deleted AFTER DELETE ON deployments BEGIN
    DELETE FROM app_changes WHERE env = OLD.env AND app = OLD.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = OLD.env AND app = OLD.app;
END;

CREATE TRIGGER instances_inserted AFTER INSERT ON instances BEGIN
    DELETE FROM app_changes WHERE env = NEW.env AND app = NEW.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = NEW.env AND app = NEW.app;
END;
CREATE TRIGGER instances_updated AFTER UPDATE ON instances BEGIN
    DELETE FROM app_changes WHERE env = NEW.env AND app = NEW.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = NEW.env AND app = NEW.app;
END;
CREATE TRIGGER instances_deleted AFTER DELETE ON instances BEGIN
    DELETE FROM app_changes WHERE env = OLD.env AND app = OLD.app;
    INSERT INTO app_changes (env, app) SELECT env, app FROM apps WHERE env = OLD.env AND app = OLD.app;
END;
